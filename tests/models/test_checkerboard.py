from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nllgen.models.coupling import CHECKERBOARD, ROWS, squeeze, unsqueeze
from nllgen.models.realnvp import Stage
from nllgen.study.config import FlowConfig

SHAPES = [(1, 6, 6), (2, 4, 6), (1, 5, 3), (3, 7, 4), (1, 1, 4)]
sizes = st.tuples(*(st.integers(1, 4) for _ in range(4)))
orders = st.sampled_from([ROWS, CHECKERBOARD])
quick = settings(max_examples=50, deadline=None, database=None)


def numbered(n: int, c: int, h: int, w: int) -> Tensor:
    return torch.arange(n * c * h * w).double().view(n, c, h, w)


def black(shape: tuple[int, int, int]) -> Tensor:
    """Return a mask of the squares with the colour of (0, 0)."""
    rows, columns = torch.arange(shape[1])[:, None], torch.arange(shape[2])
    return ((rows + columns) % 2 == 0).expand(shape)


def one_coupling(shape: tuple[int, int, int], flip: bool) -> Stage:
    generator = torch.Generator().manual_seed(0)
    config = FlowConfig(shape=shape, scales=1, blocks=1)
    stage = Stage(shape, 2, 8, config, checkerboard=True).double().requires_grad_(False)
    stage.norms, stage.couplings = stage.norms[int(flip) :][:1], stage.couplings[int(flip) :][:1]
    for p in stage.parameters():
        p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return stage


def changed_by(stage: Stage, x: Tensor, site: tuple[int, int, int]) -> Tensor:
    """Return a mask of the outputs that depend on one input pixel."""
    other = x.clone()
    other[(0, *site)] += 1.0
    before: Tensor = stage(x)[0]
    after: Tensor = stage(other)[0]
    return (after != before)[0]


@quick
@given(sizes, orders)
def test_unsqueeze_undoes_squeeze(size: tuple[int, int, int, int], order: tuple[int, ...]) -> None:
    n, c, h, w = size
    x = numbered(n, c, 2 * h, 2 * w)
    assert torch.equal(unsqueeze(squeeze(x, order), order), x)


@quick
@given(sizes, orders)
def test_squeeze_undoes_unsqueeze(size: tuple[int, int, int, int], order: tuple[int, ...]) -> None:
    n, c, h, w = size
    x = numbered(n, 4 * c, h, w)
    assert torch.equal(squeeze(unsqueeze(x, order), order), x)


@quick
@given(sizes)
def test_halves_of_a_checkerboard_squeeze_are_its_two_colours(size: tuple[int, int, int, int]) -> None:
    n, c, h, w = size
    x = numbered(n, c, 2 * h, 2 * w)
    first, second = squeeze(x, CHECKERBOARD).chunk(2, dim=1)
    colour = black((c, 2 * h, 2 * w)).expand(x.shape)
    assert set(first.flatten().tolist()) == set(x[colour].tolist())
    assert set(second.flatten().tolist()) == set(x[~colour].tolist())


@quick
@given(sizes)
def test_halves_of_a_row_squeeze_are_even_and_odd_rows(size: tuple[int, int, int, int]) -> None:
    n, c, h, w = size
    x = numbered(n, c, 2 * h, 2 * w)
    first, second = squeeze(x).chunk(2, dim=1)
    assert set(first.flatten().tolist()) == set(x[:, :, ::2].flatten().tolist())
    assert set(second.flatten().tolist()) == set(x[:, :, 1::2].flatten().tolist())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("flip", [False, True])
def test_identity_pixel_changes_no_other_pixel_of_its_colour(shape: tuple[int, int, int], flip: bool) -> None:
    stage, x = one_coupling(shape, flip), torch.randn(1, *shape, dtype=torch.float64)
    is_identity = black(shape) != flip
    for site in is_identity.nonzero().tolist():
        changed = changed_by(stage, x, tuple(site))
        assert (changed & is_identity).nonzero().tolist() == [site]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("flip", [False, True])
def test_transformed_pixel_changes_itself_alone(shape: tuple[int, int, int], flip: bool) -> None:
    stage, x = one_coupling(shape, flip), torch.randn(1, *shape, dtype=torch.float64)
    for site in (black(shape) == flip).nonzero().tolist():
        assert changed_by(stage, x, tuple(site)).nonzero().tolist() == [site]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("flip", [False, True])
def test_every_transformed_pixel_depends_on_an_identity_pixel(shape: tuple[int, int, int], flip: bool) -> None:
    stage, x = one_coupling(shape, flip), torch.randn(1, *shape, dtype=torch.float64)
    is_identity = black(shape) != flip
    changed = torch.stack([changed_by(stage, x, tuple(site)) for site in is_identity.nonzero().tolist()])
    assert changed.any(0).all()
