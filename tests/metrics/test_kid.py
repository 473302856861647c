from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nllgen.metrics import kid as module
from nllgen.metrics.kid import kid, mmd2


def features(n: int, d: int = 6, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(shift + np.random.default_rng(seed).standard_normal((n, d)))


def direct(x: Tensor, y: Tensor) -> float:
    """Compute the definition, one pair at a time."""

    def k(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize("rows", [1_000, 4])
def test_it_is_the_double_sum_of_its_definition(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(module, "_ROWS", rows)
    x, y = features(13), features(9, seed=1, shift=0.5)
    assert mmd2(x, y) == pytest.approx(direct(x, y), rel=1e-12)


def test_its_expectation_is_0_for_equal_distributions() -> None:
    values = np.array([kid(features(60, seed=2 * i), features(60, seed=2 * i + 1)).value for i in range(200)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))
    assert values.min() < 0


def test_two_gaussians_have_the_closed_form() -> None:
    """E[(xᵀy/d + 1)³] with x ∼ N(a, 1), y ∼ N(b, 1), d = 1: 1 + 3ab + 3(a²+1)(b²+1) + (a³+3a)(b³+3b), x and y apart."""

    def kernel(a: float, b: float) -> float:
        return 1 + 3 * a * b + 3 * (a**2 + 1) * (b**2 + 1) + (a**3 + 3 * a) * (b**3 + 3 * b)

    expected = kernel(0, 0) + kernel(1, 1) - 2 * kernel(0, 1)
    found = kid(features(20_000, d=1), features(20_000, d=1, seed=1, shift=1.0))
    assert abs(found.value - expected) < 4 * found.se
    assert found.se < 0.1 * expected


def test_the_standard_error_is_the_spread_over_repetitions() -> None:
    found = [kid(features(500, seed=2 * i), features(500, seed=2 * i + 1, shift=0.3)) for i in range(100)]
    spread = np.std([each.value for each in found])
    assert np.mean([each.se for each in found]) == pytest.approx(spread, rel=0.25)


def test_two_images_are_a_single_block_without_an_error() -> None:
    found = kid(features(3), features(3, seed=1))
    assert math.isfinite(found.value)
    assert math.isnan(found.se)


def test_one_image_has_no_kid() -> None:
    assert math.isnan(kid(features(1), features(9)).value)
