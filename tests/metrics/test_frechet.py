from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nllgen.metrics
from nllgen.errors import MetricInputError, NllgenError
from nllgen.metrics.exact import FloatArray
from nllgen.metrics.frechet import FrechetTo, frechet_distance, frechet_from_features, moments
from nllgen.torchvision_ops import import_torchvision

rng = np.random.default_rng


def features(num: int, dim: int, seed: int = 0) -> FloatArray:
    mixing = rng(99).standard_normal((dim, dim)) / dim**0.5 + np.eye(dim)
    rows: FloatArray = rng(seed).standard_normal((num, dim)) @ mixing * np.geomspace(1, 0.01, dim)
    return rows


def theirs(x: FloatArray, y: FloatArray) -> float:
    import_torchvision()
    from pytorch_fid.fid_score import calculate_frechet_distance

    with warnings.catch_warnings():  # it uses a deprecated argument of scipy's sqrtm
        warnings.simplefilter("ignore", DeprecationWarning)
        return float(calculate_frechet_distance(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False)))


def test_the_package_exports_the_distance() -> None:
    assert nllgen.metrics.frechet_distance is frechet_distance


@pytest.mark.parametrize(("num", "dim"), [(500, 20), (30, 60), (2, 5), (10, 10), (50, 1), (700, 600)])
def test_set_to_itself_is_0(num: int, dim: int) -> None:
    x = features(num, dim)
    scale = float(x.var(0, ddof=1).sum())
    assert frechet_distance(*moments(x), *moments(x)) <= 1e-7 * scale
    assert frechet_from_features(x, x) <= 1e-7 * scale


def test_distance_in_one_dimension_is_of_means_and_deviations() -> None:
    # (μ₁ − μ₂)² + (σ₁ − σ₂)²
    assert frechet_distance([1.0], [[4.0]], [4.0], [[25.0]]) == pytest.approx(9 + 9)


def test_distance_of_commuting_covariances_is_closed() -> None:
    q, _ = np.linalg.qr(rng(1).standard_normal((12, 12)))
    a, b = rng(2).uniform(0, 3, 12), rng(3).uniform(0, 3, 12)
    shift = rng(4).standard_normal(12)
    expected = shift @ shift + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    assert frechet_distance(shift, q * a @ q.T, 0 * shift, q * b @ q.T) == pytest.approx(expected, rel=1e-12)


def test_distance_in_two_dimensions_is_closed() -> None:
    # For 2 × 2 matrices tr √A = √(tr A + 2 √det A).
    a, b = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.3], [-0.3, 3.0]])
    cross = math.sqrt(np.trace(a @ b) + 2 * math.sqrt(np.linalg.det(a @ b)))
    expected = np.trace(a) + np.trace(b) - 2 * cross
    assert frechet_distance([0, 0], a, [0, 0], b) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("ranks", [(3, 3), (3, 8), (8, 3), (0, 8), (0, 0)])
def test_distance_of_singular_covariances_is_closed(ranks: tuple[int, int]) -> None:
    a, b = ((np.arange(8) < rank) * rng(rank).uniform(1, 2, 8) for rank in ranks)
    q, _ = np.linalg.qr(rng(5).standard_normal((8, 8)))
    expected = np.square(np.sqrt(a) - np.sqrt(b)).sum()
    found = frechet_distance(np.zeros(8), q * a @ q.T, np.zeros(8), q * b @ q.T)
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize(("num", "dim"), [(1000, 64), (300, 200)])
def test_equals_pytorch_fid(num: int, dim: int) -> None:
    x, y = features(num, dim), 1.1 * features(num, dim, seed=1) + 0.1
    expected = theirs(x, y)
    assert frechet_distance(*moments(x), *moments(y)) == pytest.approx(expected, rel=1e-6)
    assert frechet_from_features(x, y) == pytest.approx(expected, rel=1e-6)


def test_dead_features_equal_the_distance_without_them() -> None:
    x, y = features(500, 20), features(500, 20, seed=1) + 0.2
    dead = np.zeros((500, 7))
    found = frechet_distance(*moments(np.hstack([x, dead])), *moments(np.hstack([y, dead])))
    assert found == pytest.approx(frechet_distance(*moments(x), *moments(y)), rel=1e-9)


def test_rank_hidden_behind_the_first_features_is_found() -> None:
    # The first two features are one and the same: Cholesky stops at the second although the rank is 9.
    x, y = (features(300, 9, seed) for seed in (0, 1))
    doubled = [np.hstack([z[:, :1], z]) / [2**0.5, 2**0.5, *[1] * 8] for z in (x, y)]
    found = frechet_distance(*moments(doubled[0]), *moments(doubled[1]))
    assert found == pytest.approx(frechet_distance(*moments(x), *moments(y)), rel=1e-7)


def test_fewer_images_than_features_agrees_with_the_moments() -> None:
    x, y = features(40, 100), features(30, 100, seed=1)
    assert frechet_from_features(x, y) == pytest.approx(frechet_distance(*moments(x), *moments(y)), rel=1e-7)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 12))
def test_distance_is_symmetric_and_never_negative(n: int, m: int, dim: int) -> None:
    x, y = features(n, dim), features(m, dim, seed=1)
    one, two = frechet_from_features(x, y), frechet_from_features(y, x)
    assert one >= 0
    assert one == pytest.approx(two, rel=1e-6, abs=1e-7)


def test_distance_scales_with_the_square_of_the_features() -> None:
    x, y = features(200, 10), features(200, 10, seed=1)
    assert frechet_from_features(1e6 * x, 1e6 * y) == pytest.approx(1e12 * frechet_from_features(x, y), rel=1e-8)


def test_tensors_and_arrays_give_the_same() -> None:
    x, y = features(200, 10), features(200, 10, seed=1)
    found = frechet_from_features(torch.from_numpy(x), torch.from_numpy(y))
    assert found == frechet_from_features(x, y)


def test_moments_are_numpys() -> None:
    x = features(50, 7)
    mean, cov = moments(x)
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(cov, np.cov(x, rowvar=False), rtol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (([0, 0], np.eye(2), [0, 0, 0], np.eye(3)), "mean1 has 2 features, mean2 has 3"),
        (([0, 0], np.eye(3), [0, 0], np.eye(2)), "cov1 has shape"),
        (([[0, 0]], np.eye(2), [0, 0], np.eye(2)), "mean1 has shape"),
        (([], np.empty((0, 0)), [], np.empty((0, 0))), "mean1 has shape"),
        (([0, math.nan], np.eye(2), [0, 0], np.eye(2)), "not finite"),
        (([0, 0], np.eye(2), [0, 0], np.diag([1, math.inf])), "not finite"),
        (([0, 0], [[1, 2], [0, 1]], [0, 0], np.eye(2)), "not symmetric"),
        (([0, 0], np.diag([1, -1]), [0, 0], np.eye(2)), "variance -1"),
        (([0, 0], [[1, 2], [2, 1]], [0, 0], np.eye(2)), "eigenvalue -1"),
        (([0, 0], np.eye(2), [0, 0], [[1, 2], [2, 1]]), "eigenvalue below 0"),
    ],
)
def test_impossible_moments_are_a_typed_error(arguments: tuple[Any, Any, Any, Any], reason: str) -> None:
    with pytest.raises(MetricInputError, match=reason):
        frechet_distance(*arguments)


def test_one_image_is_a_typed_error() -> None:
    with pytest.raises(MetricInputError, match="has 1 rows"):
        moments(np.zeros((1, 3)))


def test_features_of_two_extractors_are_a_typed_error() -> None:
    with pytest.raises(MetricInputError, match="X has 3 features, Y has 4"):
        frechet_from_features(np.eye(3), np.eye(4))


def test_error_is_an_expected_one_and_a_value_error() -> None:
    assert issubclass(MetricInputError, NllgenError)
    assert issubclass(MetricInputError, ValueError)


@pytest.mark.parametrize("scale", [1e78, 1e160, 1e307])
def test_an_overflow_is_a_typed_error_and_never_a_perfect_score(scale: float) -> None:
    """Two rows × 1e78 have a finite distance, but the product of their covariances overflows."""
    x, y = scale * features(2, 5), scale * features(2, 5, seed=1)
    many, more = scale * features(50, 5), scale * features(50, 5, seed=1)
    measures: list[Callable[[], float]] = [
        lambda: frechet_from_features(x, y),
        lambda: frechet_from_features(many, more),
        lambda: frechet_distance(*moments(many), *moments(more)),
        lambda: FrechetTo(*moments(many))(more),
    ]
    for measure in measures:
        with pytest.raises(MetricInputError, match="overflows float64"):
            measure()


def test_means_too_far_apart_are_an_overflow() -> None:
    with pytest.raises(MetricInputError, match="overflows float64"):
        frechet_distance([1e200], [[1.0]], [0.0], [[1.0]])


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor, np.ndarray.tolist])
def test_a_complex_covariance_is_refused(convert: Any) -> None:
    cov = convert(np.eye(2) + 0j)
    with pytest.raises(MetricInputError, match="cov2 is complex"):
        frechet_distance([0, 0], np.eye(2), [0, 0], cov)
    with pytest.raises(MetricInputError, match="features is complex"):
        moments(cov)
