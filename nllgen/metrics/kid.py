"""Kernel Inception distance (Bińkowski, Sutherland, Arbel & Gretton 2018): an unbiased MMD² of image features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nllgen.metrics.exact import Estimate, mean_and_se
from nllgen.metrics.measurement import Row
from nllgen.metrics.metric_group import Features, image_group

NUM_BLOCKS = 10
_ROWS = 1_000  # of a kernel matrix at once


def mmd2(X: Tensor, Y: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy with k(x, y) = (xᵀy/d + 1)³ (Bińkowski et al. 2018, eqs. 4 and 5).

    Of equal distributions its expectation is 0, so that it may be negative.

    Args:
        X, Y: (n, d) and (m, d) float64, at least two rows of each.
    """
    return _mean_off_diagonal(X) + _mean_off_diagonal(Y) - 2 * _kernel_sum(X, Y) / (len(X) * len(Y))


def kid(X: Tensor, Y: Tensor, num_blocks: int = NUM_BLOCKS) -> Estimate:
    """Mean of the unbiased MMD² over disjoint blocks, with its standard error (Bińkowski et al. 2018, §4).

    Args:
        X, Y: (n, d) and (m, d) float64, in random order; block i of X meets block i of Y.
        num_blocks: how many; fewer where a block would have fewer than two rows.

    Returns:
        NaN with fewer than two rows on a side; no error with a single block.
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


def _compare(features: Features) -> Row:
    X, Y = (features.tensor(features.shuffled(part)) for part in (features.samples, features.reference))
    found = kid(X, Y)
    return {"kid": found.value, "kid_se": found.se}


GROUP = image_group("kid", ("kid",), ("kid_se",), _compare)
