"""Divergences against Gaussians with closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from nllgen.metrics.exact import FloatArray, draw, jsd, kl, log_densities, mean_and_se
from nllgen.models import RealNVP
from nllgen.study.config import FlowConfig

P, Q = stats.norm(0.0, 1.0), stats.norm(0.7, 1.5)
N = 200_000


def kl_of_normals(a: tuple[float, float], b: tuple[float, float]) -> float:
    (m1, s1), (m2, s2) = a, b
    return math.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5


@pytest.fixture(scope="module")
def draws() -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    return P.rvs(N, random_state=rng), Q.rvs(N, random_state=rng)


def test_kl_is_that_of_two_normals(draws: tuple[FloatArray, FloatArray]) -> None:
    x, _ = draws
    found = kl(P.logpdf(x), Q.logpdf(x))
    assert abs(found.value - kl_of_normals((0, 1), (0.7, 1.5))) < 4 * found.se
    assert found.se < 0.01


def test_reverse_kl_is_that_of_two_normals(draws: tuple[FloatArray, FloatArray]) -> None:
    _, x = draws
    found = kl(Q.logpdf(x), P.logpdf(x))
    assert abs(found.value - kl_of_normals((0.7, 1.5), (0, 1))) < 4 * found.se


def test_jsd_is_the_integral_of_its_definition(draws: tuple[FloatArray, FloatArray]) -> None:
    def integrand(x: float) -> float:
        p, q = float(P.pdf(x)), float(Q.pdf(x))
        m = (p + q) / 2
        return 0.5 * p * math.log(p / m) + 0.5 * q * math.log(q / m)

    truth, _ = integrate.quad(integrand, -12, 12)
    x, y = draws
    found = jsd(P.logpdf(x) - Q.logpdf(x), P.logpdf(y) - Q.logpdf(y))
    assert abs(found.value - truth) < 4 * found.se


def test_jsd_of_equal_densities_is_exactly_zero() -> None:
    assert jsd(np.zeros(100), np.zeros(100)).value == pytest.approx(0.0, abs=1e-15)


def test_jsd_of_disjoint_densities_is_ln_2_without_overflow() -> None:
    assert jsd(np.full(10, 1e4), np.full(10, -1e4)).value == pytest.approx(math.log(2))


def test_the_standard_error_is_that_of_a_mean() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert mean_and_se(values).se == pytest.approx(stats.sem(values))


def test_a_single_value_has_no_standard_error() -> None:
    assert math.isnan(mean_and_se(np.array([3.0])).se)


def test_the_truth_against_itself_has_kl_zero() -> None:
    torch.manual_seed(0)
    flow = RealNVP(FlowConfig(shape=(1, 6, 6), width=4, blocks=1))
    x = draw(flow, 50, torch.Generator().manual_seed(1))
    found = kl(log_densities(flow, x), log_densities(flow, x))
    assert found == (0.0, 0.0)


def test_densities_are_fp32_even_inside_autocast() -> None:
    torch.manual_seed(0)
    flow = RealNVP(FlowConfig(shape=(1, 6, 6), width=4, blocks=1))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(20, 1, 6, 6)
    outside = log_densities(flow, x)
    with torch.autocast("cpu", torch.bfloat16):
        inside = log_densities(flow, x)
    assert np.array_equal(inside, outside)


def test_drawing_leaves_the_global_generator_alone() -> None:
    flow = RealNVP(FlowConfig(shape=(1, 6, 6), width=4, blocks=1))
    before = torch.random.get_rng_state()
    draw(flow, 10, torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.random.get_rng_state())
