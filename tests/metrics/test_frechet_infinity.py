from __future__ import annotations

import math

import numpy as np
import pytest

from nllgen.metrics.exact import Estimate, FloatArray
from nllgen.metrics.frechet import FrechetTo, frechet_distance, moments
from nllgen.metrics.frechet_infinity import frechet_infinity

D = 10
MEAN, SCALES = np.full(D, 0.3), np.linspace(0.5, 2, D)
STANDARD = FrechetTo(np.zeros(D), np.eye(D))
EXACT = D * 0.3**2 + np.square(SCALES - 1).sum()  # to the standard normal


def drawn(n: int, seed: int) -> FloatArray:
    return MEAN + SCALES * np.random.default_rng(seed).standard_normal((n, D))


@pytest.fixture(scope="module")
def repetitions() -> tuple[list[Estimate], list[float]]:
    """Return Fréchet∞ and the plain distance of the same 400 samples, 40 times."""
    samples = [drawn(400, seed) for seed in range(40)]
    return [frechet_infinity(x, STANDARD) for x in samples], [STANDARD(x) for x in samples]


def test_it_is_the_distance_of_the_gaussians(repetitions: tuple[list[Estimate], list[float]]) -> None:
    found = np.array([each.value for each in repetitions[0]])
    assert abs(found.mean() - EXACT) < 4 * found.std() / math.sqrt(len(found))


def test_the_distance_itself_is_biased_at_that_n(repetitions: tuple[list[Estimate], list[float]]) -> None:
    bias = np.array(repetitions[1]) - [each.value for each in repetitions[0]]
    assert bias.mean() > 4 * bias.std() / math.sqrt(len(bias))


def test_the_standard_error_is_the_spread_over_repetitions(repetitions: tuple[list[Estimate], list[float]]) -> None:
    spread = np.std([each.value for each in repetitions[0]])
    assert np.mean([each.se for each in repetitions[0]]) == pytest.approx(spread, rel=0.25)


def test_equal_distributions_have_about_0() -> None:
    x = np.random.default_rng(0).standard_normal((2_000, D))
    found = frechet_infinity(x, STANDARD)
    assert abs(found.value) < 4 * found.se
    assert found.value < 0.2 * STANDARD(x)


def test_fewer_than_100_samples_are_too_few() -> None:
    assert all(math.isnan(each) for each in frechet_infinity(drawn(99, 0), STANDARD))


@pytest.mark.parametrize("n", [5, 10, 30])
def test_the_distance_to_a_gaussian_is_that_of_the_moments(n: int) -> None:
    x, reference = drawn(n, 0), moments(drawn(50, 1))
    assert FrechetTo(*reference)(x) == pytest.approx(frechet_distance(*moments(x), *reference), rel=1e-7)


@pytest.mark.parametrize("dead", [[0], [3, 7], list(range(D))])
def test_features_that_never_vary_in_the_reference_add_their_variance_alone(dead: list[int]) -> None:
    x, reference = drawn(30, 0), drawn(50, 1)
    reference[:, dead] = 0.5
    expected = frechet_distance(*moments(x), *moments(reference))
    assert FrechetTo(*moments(reference))(x) == pytest.approx(expected, rel=1e-9)


def test_a_singular_reference_is_allowed() -> None:
    x, reference = drawn(30, 0), moments(drawn(6, 1))
    assert FrechetTo(*reference)(x) == pytest.approx(frechet_distance(*moments(x), *reference), rel=1e-6)
