from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from nllgen.models import RealNVP
from nllgen.models.actnorm import ActNorm
from nllgen.models.coupling import Coupling
from nllgen.models.realnvp import Stage
from nllgen.study.config import FlowConfig

MakeFlow = Callable[..., RealNVP]
MakeX = Callable[..., Tensor]
Map = Callable[[Tensor], tuple[Tensor, Tensor]]


def autograd_log_det(function: Map, x: Tensor) -> Tensor:
    """Compute log|det| of each image's Jacobian."""

    def one(image: Tensor) -> Tensor:
        matrix: Tensor = jacobian(lambda v: function(v[None])[0][0].flatten(), image)  # type: ignore[no-untyped-call]
        log_det: Tensor = torch.linalg.slogdet(matrix.flatten(1)).logabsdet
        return log_det

    return torch.stack([one(image) for image in x])


def assert_log_det_is_autograds(function: Map, x: Tensor) -> None:
    _, log_det = function(x)
    torch.testing.assert_close(log_det.expand(len(x)), autograd_log_det(function, x), rtol=1e-9, atol=1e-9)


def randomised(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    module.double().requires_grad_(False)
    for p in module.parameters():
        p.add_(0.2 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return module


def batch(*shape: int) -> Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_log_det_forward_is_autograds(tiny_config: FlowConfig, make_flow: MakeFlow, make_x: MakeX) -> None:
    assert_log_det_is_autograds(make_flow(tiny_config), make_x(tiny_config, 2))


def test_log_det_inverse_is_autograds(tiny_config: FlowConfig, make_flow: MakeFlow, make_x: MakeX) -> None:
    assert_log_det_is_autograds(make_flow(tiny_config).inverse, make_x(tiny_config, 2))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("additive", [False, True])
def test_coupling_log_det_is_autograds(direction: str, flip: bool, additive: bool) -> None:
    coupling = randomised(Coupling(4, 3, 1, flip=flip, additive=additive))
    assert_log_det_is_autograds(getattr(coupling, direction), batch(4, 2, 3))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("coupling", ["affine", "additive"])
@pytest.mark.parametrize(
    ("shape", "checkerboard"),
    [
        ((2, 4, 4), True),
        ((2, 3, 3), True),
        ((1, 3, 4), True),
        ((4, 2, 2), False),
        ((6, 1, 1), False),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_stage_log_det_is_autograds(
    direction: str, coupling: Literal["affine", "additive"], shape: tuple[int, int, int], checkerboard: bool, count: int
) -> None:
    config = FlowConfig(shape=shape, scales=1, blocks=1, coupling=coupling)
    stage = randomised(Stage(shape, count, 3, config, checkerboard=checkerboard))
    assert_log_det_is_autograds(getattr(stage, direction), batch(*shape))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize(("shape", "num_pixels"), [((2, 3, 2), 6), ((8, 2, 1), 8)], ids=["image", "squeezed"])
def test_actnorm_log_det_is_autograds(direction: str, shape: tuple[int, int, int], num_pixels: int) -> None:
    norm = randomised(ActNorm(2, num_pixels))
    assert_log_det_is_autograds(getattr(norm, direction), batch(*shape))


def test_additive_log_det_is_the_same_for_all_data(
    truth_config: FlowConfig, make_flow: MakeFlow, make_x: MakeX
) -> None:
    config = FlowConfig.model_validate(truth_config.model_dump() | {"coupling": "additive"})
    _, log_det = make_flow(config)(make_x(config))
    assert torch.equal(log_det, log_det[0].expand(4))


def test_additive_log_det_is_that_of_the_actnorms(truth_config: FlowConfig, make_flow: MakeFlow, make_x: MakeX) -> None:
    config = FlowConfig.model_validate(truth_config.model_dump() | {"coupling": "additive"})
    flow = make_flow(config)
    norms = [m for m in flow.modules() if isinstance(m, ActNorm)]
    expected = sum(float(norm.log_scale.sum()) * norm.num_pixels for norm in norms)
    torch.testing.assert_close(flow(make_x(config))[1], torch.full((4,), expected, dtype=torch.float64))


def test_affine_log_det_depends_on_the_data(truth_config: FlowConfig, make_flow: MakeFlow, make_x: MakeX) -> None:
    _, log_det = make_flow(truth_config)(make_x(truth_config))
    assert log_det.std() > 1e-3
