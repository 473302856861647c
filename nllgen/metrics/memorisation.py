"""Whether a model copies its training images: the C_T test (Meehan, Chaudhuri & Dasgupta 2020).

A model that copies draws images that are nearer to the training set than fresh true images are. Within each cell of a
partition of the feature space, the Mann-Whitney U of the samples' and the held-out images' distances to the training
set is brought to a standard normal under "equally near"; C_T is the mean over the cells, weighted by the held-out
images in them. Far below 0: copying. About 0 (a deviation of 1/√cells): neither. Far above 0: samples that are further
from the training set than the truth's, as an underfitted model's are.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nllgen.metrics.distances import blocks, nearest
from nllgen.metrics.exact import FloatArray
from nllgen.metrics.measurement import Row
from nllgen.metrics.metric_group import Features, image_group

NUM_CELLS = 10
_PER_CELL = 50  # images of either side that a cell should have; with fewer there are fewer cells
_ITERATIONS = 20  # of Lloyd's
_MIN_IN_CELL = 10  # of each side: below that the normal approximation of U is not one


class CopyingTest:
    """C_T of any number of models (Meehan et al. 2020, eq. 2), on a partition of the training images by k-means.

    Args:
        held_out, training: (m, d) and (t, d) float64 features on one device.
        generator: of k-means' first centres.
        num_cells: cells of the partition.
    """

    def __init__(self, held_out: Tensor, training: Tensor, generator: torch.Generator, num_cells: int = NUM_CELLS):
        self._training = training
        self._centres = k_means(training, min(num_cells, len(training)), generator)
        self._cells = assign(held_out, self._centres)
        self._distances = nearest(held_out, training).cpu().numpy()

    def __call__(self, samples: Tensor) -> float:
        """C_T of samples (n, d); NaN where no cell has ten images of either side."""
        cells, distances = assign(samples, self._centres), nearest(samples, self._training).cpu().numpy()
        scores, weights = [], []
        for cell in range(len(self._centres)):
            ours, theirs = distances[cells == cell], self._distances[self._cells == cell]
            if min(len(ours), len(theirs)) >= _MIN_IN_CELL:
                scores.append(mann_whitney_z(ours, theirs))
                weights.append(len(theirs))
        return float(np.average(scores, weights=weights)) if scores else math.nan


def mann_whitney_z(x: FloatArray, y: FloatArray) -> float:
    """Mann & Whitney's (1947) U of x over y as a z score: below 0 where x tends to be the smaller. Ties count half."""
    n, m = len(x), len(y)
    _, inverse, counts = np.unique(np.concatenate((x, y)), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    u = ranks[:n].sum() - n * (n + 1) / 2
    total = n + m
    ties = (counts**3 - counts).sum() / (total * (total - 1))
    variance = n * m / 12 * (total + 1 - ties)
    return float((u - n * m / 2) / math.sqrt(variance)) if variance > 0 else 0.0


def k_means(X: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Centres (k, d) by Lloyd's iterations from k-means++ (Arthur & Vassilvitskii 2007)."""
    centres = X[_pick(torch.ones(len(X)), generator)][None]
    while len(centres) < k:
        distances = nearest(X, centres).cpu()
        if not distances.sum() > 0:  # fewer different points than cells
            return centres
        centres = torch.cat((centres, X[_pick(distances, generator)][None]))
    for _ in range(_ITERATIONS):
        cells = torch.from_numpy(assign(X, centres)).to(X.device)
        sums = torch.zeros_like(centres).index_add_(0, cells, X)
        counts = torch.bincount(cells, minlength=len(centres))
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres


def assign(X: Tensor, centres: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Index (n,) of each row's nearest centre."""
    found: np.ndarray[tuple[int], np.dtype[np.int64]]
    found = torch.cat([block.argmin(1) for _, block in blocks(X, centres)]).cpu().numpy()
    return found


def _pick(weights: Tensor, generator: torch.Generator) -> int:
    """One index, with probability proportional to the weights (on the CPU); any number of them."""
    total = weights.double().cumsum(0)
    uniform = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64).cpu()
    return min(int(torch.searchsorted(total, uniform * total[-1], right=True)), len(weights) - 1)


def _compare(features: Features) -> Row:
    held_out, training = features.reference, features.training
    assert training is not None
    num_cells = max(1, min(NUM_CELLS, len(features.samples) // _PER_CELL, len(held_out) // _PER_CELL))

    def make() -> CopyingTest:
        return CopyingTest(features.tensor(held_out), features.tensor(training), features.generator, num_cells)

    test: CopyingTest = features.once(f"copying test of {num_cells} cells", make)
    return {"copying_ct": test(features.tensor(features.samples))}


GROUP = image_group("memorisation", ("copying_ct",), (), _compare, training=True)
