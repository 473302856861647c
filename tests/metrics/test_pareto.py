"""Pareto-k̂ of tails with known shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nllgen.metrics.exact import FloatArray
from nllgen.metrics.pareto import gpd_shape, pareto_k


def log_gpd(shape: float, n: int, seed: int = 0, scale: float = 1.0) -> FloatArray:
    x = stats.genpareto(shape, scale=scale).rvs(n, random_state=np.random.default_rng(seed))
    return np.sort(np.log(x))


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3, 0.7, 1.0, 2.0])
def test_the_shape_of_a_generalised_pareto_sample_is_found(shape: float) -> None:
    n, seeds = 2_000, range(20)
    found = np.array([gpd_shape(log_gpd(shape, n, seed)) for seed in seeds])
    se = (1 + shape) / math.sqrt(n * len(seeds))  # Cramér-Rao: (1 + ξ)²/n
    assert found.mean() == pytest.approx(shape, abs=max(4 * se, 0.01))


def test_the_shape_does_not_depend_on_the_scale() -> None:
    assert gpd_shape(log_gpd(0.4, 500, scale=1e100)) == pytest.approx(gpd_shape(log_gpd(0.4, 500)), rel=1e-9)


def test_the_estimate_is_the_profile_likelihoods_in_its_middle() -> None:
    """Compare with scipy's maximum-likelihood fit, which it approaches for large n."""
    x = log_gpd(0.5, 20_000)
    assert gpd_shape(x) == pytest.approx(stats.genpareto.fit(np.exp(x), floc=0)[0], abs=0.01)


@pytest.mark.parametrize("tau2", [0.3, 0.5, 0.9])
def test_a_narrow_gaussian_has_the_shape_1_minus_its_variance(tau2: float) -> None:
    """p = N(0, 1), q = N(0, τ²) in two dimensions: |x|² is exponential under q, and p/q exactly Pareto, k = 1 − τ²."""
    n = 100_000
    r2 = stats.expon(scale=2 * tau2).rvs(n, random_state=np.random.default_rng(1))
    log_weights = math.log(tau2) + r2 * (1 / tau2 - 1) / 2
    assert pareto_k(log_weights) == pytest.approx(1 - tau2, abs=4 * (2 - tau2) / math.sqrt(3 * math.sqrt(n)))


def test_a_wide_gaussian_has_no_tail() -> None:
    """τ² > 1: the weights are bounded, k = 1 − τ² < 0."""
    r2 = stats.expon(scale=2 * 1.5).rvs(50_000, random_state=np.random.default_rng(1))
    assert pareto_k(r2 * (1 / 1.5 - 1) / 2) < 0.1


def test_a_scale_mixture_has_the_shape_of_its_widest_part() -> None:
    """p = ½N(0, 0.5) + ½N(0, 1) against q = N(0, 0.6) in two dimensions: k = 1 − 0.6 of the wider part."""
    x2 = stats.expon(scale=2 * 0.6).rvs(1_000_000, random_state=np.random.default_rng(2))
    log_p = np.logaddexp(-x2 / (2 * 0.5) - math.log(0.5), -x2 / 2)
    assert pareto_k(log_p - (-x2 / (2 * 0.6))) == pytest.approx(0.4, abs=0.12)


def test_a_constant_factor_of_the_weights_does_not_matter() -> None:
    log_weights = np.random.default_rng(0).standard_normal(1_000)
    assert pareto_k(log_weights + 1e4) == pytest.approx(pareto_k(log_weights), abs=1e-8)


def test_weights_beyond_every_float_give_a_number() -> None:
    log_weights = 1e4 * np.random.default_rng(0).standard_normal(1_000)
    assert 10 < pareto_k(log_weights) < 1e5


def test_equal_weights_have_no_tail() -> None:
    assert pareto_k(np.zeros(1_000)) == 0


@pytest.mark.parametrize("weights", [np.zeros(24), np.array([math.nan] * 100), np.array([math.inf] + [0.0] * 99)])
def test_too_few_or_impossible_weights_have_no_shape(weights: FloatArray) -> None:
    assert math.isnan(pareto_k(weights))
