from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from nllgen.metrics.memorisation import CopyingTest, k_means, mann_whitney_z


def drawn(n: int, seed: int) -> Tensor:
    """Draw from a mixture of three distant normals in eight dimensions."""
    rng = np.random.default_rng(seed)
    centres = 20 * np.eye(8)[:3]
    return torch.from_numpy(centres[rng.integers(0, 3, n)] + rng.standard_normal((n, 8)))


def ct(samples: Tensor, training: Tensor, num_cells: int = 3, seed: int = 0) -> float:
    return CopyingTest(drawn(600, 1), training, torch.Generator().manual_seed(seed), num_cells)(samples)


@pytest.fixture(scope="module")
def training() -> Tensor:
    return drawn(400, 0)


def test_copies_of_the_training_images_are_flagged(training: Tensor) -> None:
    assert ct(training, training) < -10


def test_slightly_disturbed_copies_are_flagged(training: Tensor) -> None:
    assert ct(training + 0.1 * torch.randn(training.shape, dtype=torch.float64), training) < -10


def test_a_few_copies_among_fresh_samples_are_flagged(training: Tensor) -> None:
    assert ct(torch.cat([training[:150], drawn(250, 2)]), training) < -3


def test_fresh_samples_of_the_truth_are_not(training: Tensor) -> None:
    found = np.array([ct(drawn(500, seed), drawn(400, 1000 + seed)) for seed in range(2, 32)])
    assert np.abs(found).max() < 4 / math.sqrt(3) + 1  # a standard deviation of about 1/√cells, and the held-out set's
    assert abs(found.mean()) < 1


def test_samples_that_are_too_far_away_are_above_0(training: Tensor) -> None:
    assert ct(drawn(500, 2) * 1.3, training) > 5


def test_copies_in_one_mode_are_not_hidden_by_poor_samples_in_another(training: Tensor) -> None:
    """Without the partition, smaller distances in one cell and larger ones in the others cancel."""
    first = training[:, 0] > 10
    poor = drawn(2_000, 2)
    poor = poor[poor[:, 0] < 10][: 2 * int(first.sum())]
    mixed = torch.cat([training[first], poor + 2 * torch.randn(poor.shape, dtype=torch.float64)])
    assert ct(mixed, training, num_cells=1) > ct(training[first], training, num_cells=1)


def test_without_ten_images_in_any_cell_there_is_no_verdict(training: Tensor) -> None:
    assert math.isnan(ct(training[:9], training))


@pytest.mark.parametrize("shift", [0.0, -0.5, 0.3])
def test_z_is_mann_and_whitneys(shift: float) -> None:
    rng = np.random.default_rng(0)
    x, y = np.round(rng.standard_normal(60) + shift, 1), np.round(rng.standard_normal(80), 1)  # with ties
    p = stats.mannwhitneyu(x, y, method="asymptotic", use_continuity=False).pvalue
    z = mann_whitney_z(x, y)
    assert 2 * stats.norm.sf(abs(z)) == pytest.approx(p)
    assert np.sign(z) == np.sign(np.mean(x) - np.mean(y))


def test_equal_values_have_z_0() -> None:
    assert mann_whitney_z(np.ones(20), np.ones(30)) == 0


def test_k_means_finds_modes_that_are_far_apart(training: Tensor) -> None:
    centres = k_means(training, 3, torch.Generator().manual_seed(0))
    nearest_mode = torch.cdist(centres, 20 * torch.eye(8, dtype=torch.float64)[:3]).min(1)
    assert sorted(nearest_mode.indices.tolist()) == [0, 1, 2]
    assert nearest_mode.values.max() < 0.5


def test_k_means_of_fewer_different_points_than_cells_ends() -> None:
    assert len(k_means(torch.ones(20, 3, dtype=torch.float64), 5, torch.Generator().manual_seed(0))) == 1
