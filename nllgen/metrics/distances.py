"""Distances between two sets of features, a block of rows at a time, so that no matrix of all pairs is ever held."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_ENTRIES = 2**23  # of a block: 64 MiB of float64


def blocks(X: Tensor, Y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Squared Euclidean distances of rows of X to all of Y.

    ‖x‖² + ‖y‖² − 2xᵀy, with both sets centred first: what cancels is then no larger than the spread of the features.

    Args:
        X, Y: (n, d) and (m, d) float64, on one device.

    Yields:
        Rows of X, and their distances (rows, m).
    """
    centre = Y.mean(0)
    Y = Y - centre
    squares = Y.square().sum(1)
    step = max(1, _ENTRIES // len(Y))
    for start in range(0, len(X), step):
        rows = slice(start, start + step)
        x = X[rows] - centre
        yield rows, torch.addmm(x.square().sum(1, keepdim=True) + squares, x, Y.T, alpha=-2).clamp_(min=0)


def nearest(X: Tensor, Y: Tensor) -> Tensor:
    """Squared distance (n,) of each row of X to its nearest row of Y."""
    return torch.cat([block.amin(1) for _, block in blocks(X, Y)])


def kth_neighbour(X: Tensor, k: int) -> Tensor:
    """Squared distance (n,) of each row of X to its k-th nearest other row."""
    found = []
    for rows, block in blocks(X, X):
        own = torch.arange(len(block), device=X.device)
        block[own, own + rows.start] = torch.inf
        found.append(block.kthvalue(k, dim=1).values)
    return torch.cat(found)
