from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from nllgen.metrics import distances
from nllgen.metrics.distances import blocks, kth_neighbour, nearest
from nllgen.metrics.exact import FloatArray


@pytest.fixture(params=[2**23, 70])
def sets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[FloatArray, FloatArray]:
    """Return two sets; all rows are in one block, or a few in each."""
    monkeypatch.setattr(distances, "_BLOCK_ENTRIES", request.param)
    rng = np.random.default_rng(0)
    return 100 + rng.standard_normal((40, 5)), 100 + rng.standard_normal((23, 5))


def test_distances_are_scipys(sets: tuple[FloatArray, FloatArray]) -> None:
    x, y = sets
    found = torch.cat([block for _, block in blocks(torch.from_numpy(x), torch.from_numpy(y))])
    np.testing.assert_allclose(found, cdist(x, y) ** 2, rtol=1e-10)


def test_the_rows_are_those_of_their_block(sets: tuple[FloatArray, FloatArray]) -> None:
    x, y = (torch.from_numpy(part) for part in sets)
    assert [i for rows, _ in blocks(x, y) for i in range(40)[rows]] == list(range(40))


def test_nearest_is_the_smallest_distance(sets: tuple[FloatArray, FloatArray]) -> None:
    x, y = sets
    np.testing.assert_allclose(nearest(torch.from_numpy(x), torch.from_numpy(y)), (cdist(x, y) ** 2).min(1), rtol=1e-10)


@pytest.mark.parametrize("k", [1, 5])
def test_a_point_is_not_its_own_neighbour(sets: tuple[FloatArray, FloatArray], k: int) -> None:
    x, _ = sets
    expected = np.sort(cdist(x, x) ** 2, 1)[:, k]
    np.testing.assert_allclose(kth_neighbour(torch.from_numpy(x), k), expected, rtol=1e-10)
