from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from nllgen.metrics.exact import FloatArray
from nllgen.metrics.prdc import PRDC, prdc


def points(n: int, d: int = 4, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return torch.from_numpy(shift + scale * np.random.default_rng(seed).standard_normal((n, d)))


def direct(fake: FloatArray, real: FloatArray, k: int) -> PRDC:
    """Compute the definitions from the matrix of all distances."""
    radii, fake_radii = (np.sort(cdist(part, part), 1)[:, k] for part in (real, fake))
    d = cdist(fake, real)
    inside = d <= radii
    return PRDC(
        inside.any(1).mean(), (d <= fake_radii[:, None]).any(0).mean(), inside.sum(1).mean() / k, inside.any(0).mean()
    )


@pytest.mark.parametrize("k", [1, 5])
def test_all_four_follow_their_definitions(k: int) -> None:
    fake, real = points(80), points(70, seed=1, shift=0.7)
    assert prdc(fake, real, k) == pytest.approx(direct(fake.numpy(), real.numpy(), k))


def test_equal_distributions_have_density_1_and_coverage_31_of_32() -> None:
    found = np.array([prdc(points(1_000, seed=2 * i), points(1_000, seed=2 * i + 1))[2:] for i in range(10)])
    se = found.std(0, ddof=1) / np.sqrt(10)
    assert np.all(np.abs(found.mean(0) - [1, 1 - 2**-5]) < 4 * se + [0, 0.001])  # finite N: coverage 0.9692
    assert se.max() < 0.01


def test_copies_of_the_true_images_are_precise_and_complete() -> None:
    real = points(100)
    assert prdc(real, real)[:2] == (1, 1)
    assert prdc(real, real).coverage == 1


def test_a_far_distribution_has_nothing_in_common() -> None:
    assert prdc(points(100), points(100, seed=1, shift=100.0)) == (0, 0, 0, 0)


def test_a_narrow_model_is_precise_and_covers_little() -> None:
    found = prdc(points(500, scale=0.2), points(500, seed=1))
    assert found.precision > 0.99
    assert found.recall < 0.3
    assert found.coverage < 0.5


def test_a_mode_that_is_dropped_is_not_covered() -> None:
    real = torch.cat([points(250, seed=1), points(250, seed=2, shift=50.0)])
    found = prdc(points(500), real)
    assert 0.45 < found.coverage < 0.5
    assert found.recall == pytest.approx(0.5, abs=0.05)
