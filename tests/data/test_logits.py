from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nllgen.data.logits import dequantise, from_logits, log_det_levels, to_logits
from nllgen.metrics.exact import bits_per_dim
from nllgen.study.config import DataConfig

ALPHAS = [1e-6, 1e-3, 0.05]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def levels() -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).repeat(4000).reshape(-1, 1, 16, 16)


def test_dequantised_level_is_its_floor() -> None:
    v = dequantise(levels(), generator())
    assert torch.equal((256 * v).floor().to(torch.uint8), levels())


def test_dequantised_white_stays_below_1(monkeypatch: pytest.MonkeyPatch) -> None:
    almost = 1 - 2**-24  # the largest that torch.rand draws
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, almost))
    u = torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)
    assert 255 / 256 < dequantise(u, generator()).item() < 1


def test_dequantisation_is_uniform() -> None:
    noise = 256 * dequantise(levels(), generator()).double() - levels()
    assert noise.mean().item() == pytest.approx(0.5, abs=0.002)
    assert noise.var().item() == pytest.approx(1 / 12, abs=0.001)


def test_dequantisation_follows_its_generator() -> None:
    one, two = (dequantise(levels()[:5], generator(3)) for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_fp32_logits_agree_with_fp64(alpha: float) -> None:
    v = torch.cat([torch.linspace(0, 1, 10_001), 1 - torch.logspace(-7, -1, 100), torch.logspace(-12, -1, 100)])
    exact = to_logits(v.double(), alpha)
    assert ((to_logits(v, alpha).double() - exact).abs() <= 3e-6).all()


@pytest.mark.parametrize("alpha", [1e-9, *ALPHAS, 0.49])
def test_every_alpha_that_a_study_may_have_is_inverted_in_fp32(alpha: float) -> None:
    alpha = DataConfig(alpha=alpha).alpha
    v = torch.linspace(0, 1, 100_001)
    y = to_logits(v, alpha)
    assert y.isfinite().all()
    assert ((from_logits(y, alpha) - v).abs() < 0.01 / 256).all()


@pytest.mark.parametrize(
    ("alpha", "bound"), [(1e-46, "0.000000001"), (0.0, "0.000000001"), (0.4999999, "0.49"), (0.5, "0.49")]
)
def test_an_alpha_beyond_fp32_is_refused_with_its_bound(alpha: float, bound: str) -> None:
    with pytest.raises(ValidationError, match=f"than or equal to {bound}"):
        DataConfig(alpha=alpha)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_black_and_white_are_symmetric_and_finite(alpha: float) -> None:
    black, white = to_logits(torch.tensor([0.0, 1.0]), alpha).tolist()
    assert white == pytest.approx(math.log1p(-alpha) - math.log(alpha), rel=1e-6)
    assert black == pytest.approx(-white, rel=1e-6)


@given(st.floats(0, 1, width=32), st.sampled_from(ALPHAS))
def test_inverse_gives_the_pixel_back(pixel: float, alpha: float) -> None:
    v = torch.tensor(pixel)
    assert from_logits(to_logits(v, alpha), alpha).item() == pytest.approx(pixel, abs=3e-7)


def test_inverse_gives_the_level_back() -> None:
    v = (levels().float() + 0.5) / 256
    assert torch.equal((256 * from_logits(to_logits(v, 1e-6), 1e-6)).floor().to(torch.uint8), levels())


def test_inverse_is_clipped_to_pixels() -> None:
    assert from_logits(torch.tensor([-1e4, 1e4]), 0.05).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_log_det_is_autograds(alpha: float) -> None:
    u = 256 * torch.rand(5, 1, 3, 3, generator=generator(), dtype=torch.float64)
    u.requires_grad_()
    y = to_logits(u / 256, alpha)
    (slope,) = torch.autograd.grad(y.sum(), u)
    torch.testing.assert_close(log_det_levels(y.detach(), alpha), slope.log().sum((1, 2, 3)))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_log_det_of_fp32_logits_agrees_with_fp64(alpha: float) -> None:
    v = dequantise(levels(), generator())
    exact = log_det_levels(to_logits(v.double(), alpha), alpha)
    assert ((log_det_levels(to_logits(v, alpha), alpha) - exact).abs() < 1e-4).all()


def test_log_det_is_float64_for_each_image() -> None:
    found = log_det_levels(torch.zeros(7, 2, 4, 4), 1e-6)
    assert found.shape == (7,)
    assert found.dtype == torch.float64


@pytest.mark.parametrize("alpha", ALPHAS)
def test_uniform_levels_cost_8_bits_per_dim(alpha: float) -> None:
    # Uniform u has log p(y) = −log 256 − log|dy/du| in each dimension, so that −log₂ p(u) is 8.
    y = to_logits(torch.rand(3, 1, 4, 4, generator=generator(), dtype=torch.float64), alpha)
    log_det = log_det_levels(y, alpha)
    bits = [bits_per_dim(16 * math.log(256) + each, each, 16) for each in log_det.tolist()]
    assert bits == pytest.approx([8.0] * 3, rel=1e-7)


def test_bits_per_dim_of_numbers_is_a_number() -> None:
    assert bits_per_dim(3 * math.log(2), math.log(2), 2) == pytest.approx(1.0)
