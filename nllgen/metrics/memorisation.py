"""The C_T test for copies of training images (Meehan, Chaudhuri & Dasgupta 2020).

The draws of a model that copies are nearer to the training set than new true images are. In each cell of a partition of
the feature space, the Mann-Whitney U of the samples' and the held-out images' distances to the training set is
standardised under the hypothesis "equally near". C_T is the mean over the cells, weighted by their held-out images. Far
below 0 indicates copying, about 0 (with a standard deviation of 1/√cells) neither. Far above 0 indicates samples that
are further from the training set than true images, as those of an underfitted model are.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nllgen.metrics.distances import blocks, nearest
from nllgen.metrics.exact import FloatArray
from nllgen.metrics.feature_metrics import FeatureMetrics, FeatureSets
from nllgen.metrics.measurement import Row

NUM_CELLS = 10
_PER_CELL = 50  # images of either set per cell; with fewer images there are fewer cells
_ITERATIONS = 20  # of Lloyd's algorithm
_MIN_IN_CELL = 10  # images of each set, for the normal approximation of U


class CopyingTest:
    """C_T of any number of models (Meehan et al. 2020, eq. 2), on a partition of the training images by k-means.

    Features of held-out (m, d) and training images (t, d) are float64 on one device; ``generator`` draws the initial
    centres.
    """

    def __init__(self, held_out: Tensor, training: Tensor, generator: torch.Generator, num_cells: int = NUM_CELLS):
        self._training = training
        self._centres = k_means(training, min(num_cells, len(training)), generator)
        self._cells = assign(held_out, self._centres)
        self._distances = nearest(held_out, training).cpu().numpy()

    def __call__(self, samples: Tensor) -> float:
        """Compute C_T of samples (n, d); NaN if no cell has ten images of either set."""
        cells, distances = assign(samples, self._centres), nearest(samples, self._training).cpu().numpy()
        scores, weights = [], []
        for cell in range(len(self._centres)):
            of_samples, of_held_out = distances[cells == cell], self._distances[self._cells == cell]
            if min(len(of_samples), len(of_held_out)) >= _MIN_IN_CELL:
                scores.append(mann_whitney_z(of_samples, of_held_out))
                weights.append(len(of_held_out))
        return float(np.average(scores, weights=weights)) if scores else math.nan


def mann_whitney_z(x: FloatArray, y: FloatArray) -> float:
    """Compute Mann & Whitney's (1947) U of x over y as a z score, negative if x tends to be smaller.

    Ties count half.
    """
    n, m = len(x), len(y)
    _, inverse, counts = np.unique(np.concatenate((x, y)), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    u = ranks[:n].sum() - n * (n + 1) / 2
    total = n + m
    ties = (counts**3 - counts).sum() / (total * (total - 1))
    variance = n * m / 12 * (total + 1 - ties)
    return float((u - n * m / 2) / math.sqrt(variance)) if variance > 0 else 0.0


def k_means(X: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Compute centres (k, d) by Lloyd's algorithm, initialised by k-means++ (Arthur & Vassilvitskii 2007)."""
    centres = X[_draw_index(torch.ones(len(X)), generator)][None]
    while len(centres) < k:
        distances = nearest(X, centres).cpu()
        if not distances.sum() > 0:  # fewer distinct points than cells
            return centres
        centres = torch.cat((centres, X[_draw_index(distances, generator)][None]))
    for _ in range(_ITERATIONS):
        cells = torch.from_numpy(assign(X, centres)).to(X.device)
        sums = torch.zeros_like(centres).index_add_(0, cells, X)
        counts = torch.bincount(cells, minlength=len(centres))
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres


def assign(X: Tensor, centres: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the index (n,) of each row's nearest centre."""
    cells: np.ndarray[tuple[int], np.dtype[np.int64]]
    cells = torch.cat([block.argmin(1) for _, block in blocks(X, centres)]).cpu().numpy()
    return cells


def _draw_index(weights: Tensor, generator: torch.Generator) -> int:
    """Draw one index with probability proportional to the weights, which are on the CPU."""
    total = weights.double().cumsum(0)
    uniform = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64).cpu()
    return min(int(torch.searchsorted(total, uniform * total[-1], right=True)), len(weights) - 1)


def _compute(features: FeatureSets) -> Row:
    held_out = features.reference
    num_cells = max(1, min(NUM_CELLS, len(features.samples) // _PER_CELL, len(held_out) // _PER_CELL))

    def make_test() -> CopyingTest:
        training = features.to_tensor(features.training)
        return CopyingTest(features.to_tensor(held_out), training, features.generator, num_cells)

    test = features.cached(f"copying test of {num_cells} cells", make_test)
    return {"copying_ct": test(features.to_tensor(features.samples))}


GROUP = FeatureMetrics("memorisation", ("copying_ct",), compute=_compute, needs=("training",)).group()
