"""Precision–recall curves against curves that are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from nllgen.metrics.pr_curve import SLOPES, precision_at_slopes

N = 6_000


def normal(n: int = N, d: int = 1, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> Tensor:
    return torch.from_numpy(shift + scale * np.random.default_rng(seed).standard_normal((n, d)))


def exact(shift: float, scale: float) -> list[float]:
    """Integrate min(λ p, q) for a standard normal p and a normal q on the line."""
    x = np.linspace(-12, 12, 200_001)
    p, q = stats.norm.pdf(x), stats.norm.pdf(x, shift, scale)
    return [float(np.minimum(slope * p, q).sum() * (x[1] - x[0])) for slope in SLOPES]


@pytest.mark.parametrize(("shift", "scale"), [(0.5, 1.0), (1.5, 1.0), (3.0, 1.0), (0.0, 0.5), (0.0, 2.0)])
def test_the_curve_of_two_normals_is_their_common_mass(shift: float, scale: float) -> None:
    curve = precision_at_slopes(normal(shift=shift, scale=scale, seed=1), normal())
    assert curve == pytest.approx(exact(shift, scale), abs=0.05)


def test_equal_distributions_have_all_of_both() -> None:
    curve = precision_at_slopes(normal(d=5, seed=1), normal(d=5))
    assert curve == pytest.approx([min(1.0, slope) for slope in SLOPES], abs=0.04)


def test_disjoint_distributions_have_nothing_in_common() -> None:
    assert precision_at_slopes(normal(d=5, shift=9.0, seed=1), normal(d=5)) == pytest.approx([0.0] * len(SLOPES))


def two_modes(n: int, seed: int) -> Tensor:
    modes = np.random.default_rng(seed).integers(0, 2, n)[:, None]
    return normal(n, 3, seed=seed + 1) + torch.from_numpy(20.0 * modes)


def test_a_lost_mode_costs_recall_alone() -> None:
    """Draws of one of two equal modes: precision 1 at recall up to 1/2."""
    curve = precision_at_slopes(normal(d=3, seed=5), two_modes(N, 6))
    assert curve == pytest.approx([min(1.0, slope / 2) for slope in SLOPES], abs=0.04)


def test_an_invented_mode_costs_precision_alone() -> None:
    """True images of one of the two modes that are drawn: recall 1 at precision up to 1/2."""
    curve = precision_at_slopes(two_modes(N, 6), normal(d=3, seed=5))
    assert curve == pytest.approx([min(0.5, slope) for slope in SLOPES], abs=0.04)


def test_neither_precision_nor_recall_exceeds_one() -> None:
    for seed in range(5):
        curve = precision_at_slopes(normal(40, 2, seed=seed), normal(40, 2, seed=seed + 50))
        assert all(0 <= alpha <= min(1.0, slope) + 1e-12 for alpha, slope in zip(curve, SLOPES, strict=True))


def test_slopes_are_symmetric_angles() -> None:
    assert SLOPES[len(SLOPES) // 2] == pytest.approx(1.0)
    assert [math.atan(slope) for slope in SLOPES] == pytest.approx(
        [math.pi / 2 - math.atan(slope) for slope in reversed(SLOPES)]
    )
