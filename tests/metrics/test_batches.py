"""Work in batches, and smaller ones where there is no memory: a stand-in for a GPU that is too small."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nllgen.metrics.batches import in_batches
from nllgen.metrics.exact import BATCH, draw, log_densities
from nllgen.metrics.resampling import resample_half
from nllgen.models import RealNVP
from nllgen.study.config import FlowConfig

CAPACITY = 130  # images


@pytest.fixture
def flow() -> RealNVP:
    torch.manual_seed(0)
    flow = RealNVP(FlowConfig(shape=(1, 6, 6), width=4, blocks=1)).requires_grad_(False)
    flow.initialise(torch.randn(64, 1, 6, 6))
    return flow.eval()


def with_capacity(method: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return a method that fails as on a GPU without memory for more than ``CAPACITY`` images."""

    def limited(x: Tensor) -> tuple[Tensor, Tensor]:
        if len(x) > CAPACITY:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return method(x)

    return limited


@pytest.fixture
def short(flow: RealNVP, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that takes the memory away."""

    def take() -> None:
        monkeypatch.setattr(flow, "forward", with_capacity(flow.forward))
        monkeypatch.setattr(flow, "inverse", with_capacity(flow.inverse))

    return take


def test_batches_are_as_large_as_asked_for() -> None:
    sizes = [len(part) for part in in_batches(lambda x: x, torch.zeros(1234, 2), batch=500)]
    assert sizes == [500, 500, 234]


def test_a_batch_without_memory_is_halved_for_good() -> None:
    seen: list[int] = []

    def work(x: Tensor) -> Tensor:
        seen.append(len(x))
        if len(x) > CAPACITY:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x

    rows = torch.arange(600)
    assert torch.equal(torch.cat([*in_batches(work, rows, batch=500)]), rows)
    assert seen == [500, 250, 125, 125, 125, 125, 100]


def test_a_row_without_memory_is_an_error() -> None:
    def work(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        next(in_batches(work, torch.zeros(9), batch=4))


def test_a_card_without_memory_for_a_batch_gives_the_same_densities(flow: RealNVP, short: Callable[[], None]) -> None:
    x = torch.randn(BATCH + 20, 1, 6, 6)
    expected = log_densities(flow, x)
    short()
    assert log_densities(flow, x) == pytest.approx(expected, abs=1e-4)


def test_a_card_without_memory_for_a_batch_draws_the_same_images(flow: RealNVP, short: Callable[[], None]) -> None:
    expected = draw(flow, BATCH + 20, torch.Generator().manual_seed(1))
    short()
    assert torch.allclose(draw(flow, BATCH + 20, torch.Generator().manual_seed(1)), expected, atol=1e-5)


def test_a_card_without_memory_for_a_batch_resamples_with_the_same_latents(
    flow: RealNVP, short: Callable[[], None]
) -> None:
    x = torch.randn(BATCH + 20, 1, 6, 6)
    expected = resample_half(flow, x, "fine", torch.Generator().manual_seed(1))
    short()
    again = resample_half(flow, x, "fine", torch.Generator().manual_seed(1))
    assert torch.allclose(again, expected, atol=1e-4)
