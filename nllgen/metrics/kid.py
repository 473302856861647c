"""Kernel Inception distance (Bińkowski, Sutherland, Arbel & Gretton 2018): an unbiased MMD² of image features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nllgen.metrics.exact import Estimate, mean_and_se
from nllgen.metrics.feature_metrics import FeatureMetrics, FeatureSets
from nllgen.metrics.measurement import Row

NUM_BLOCKS = 10
_ROWS = 1_000  # of the kernel matrix at a time


def mmd2(X: Tensor, Y: Tensor) -> float:
    """Estimate the squared maximum mean discrepancy with k(x, y) = (xᵀy/d + 1)³ (Bińkowski et al. 2018, eqs. 4 and 5).

    It is unbiased: its expectation for equal distributions is 0, and it may be negative. X and Y are (n, d) and (m, d)
    float64 with at least two rows.
    """
    return _mean_off_diagonal(X) + _mean_off_diagonal(Y) - 2 * _kernel_sum(X, Y) / (len(X) * len(Y))


def kid(X: Tensor, Y: Tensor, num_blocks: int = NUM_BLOCKS) -> Estimate:
    """Average the unbiased MMD² over disjoint blocks, with its standard error (Bińkowski et al. 2018, §4).

    Block i of X (n, d) is compared with block i of Y (m, d); both are float64 in random order. There are fewer blocks
    if one would have fewer than two rows. NaN with fewer than two rows on a side; a NaN error with a single block.
    """
    num = min(num_blocks, len(X) // 2, len(Y) // 2)
    if not num:
        return Estimate(math.nan, math.nan)
    pairs = zip(torch.tensor_split(X, num), torch.tensor_split(Y, num), strict=True)
    return mean_and_se(torch.tensor([mmd2(x, y) for x, y in pairs], dtype=torch.float64).numpy())


def _kernel(X: Tensor, Y: Tensor) -> Tensor:
    return (X @ Y.T / X.shape[1] + 1) ** 3


def _kernel_sum(X: Tensor, Y: Tensor) -> float:
    return float(sum(_kernel(part, Y).sum() for part in torch.split(X, _ROWS)))


def _mean_off_diagonal(X: Tensor) -> float:
    own = ((X.square().sum(1) / X.shape[1] + 1) ** 3).sum()
    return (_kernel_sum(X, X) - float(own)) / (len(X) * (len(X) - 1))


def _compute(features: FeatureSets) -> Row:
    X, Y = (features.to_tensor(features.shuffle(rows)) for rows in (features.samples, features.reference))
    estimate = kid(X, Y)
    return {"kid": estimate.value, "kid_se": estimate.se}


GROUP = FeatureMetrics("kid", ("kid",), ("kid_se",), compute=_compute).group()
