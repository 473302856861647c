"""Work on many images a batch at a time, in smaller batches where a GPU has not the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def in_batches(work: Callable[..., Tensor], *rows: Tensor, batch: int) -> Iterator[Tensor]:
    """Yield the results of ``work`` on parts of tensors (N, …) with at most ``batch`` rows each, in order.

    Where a GPU has no memory for a part, this and all further parts have half its rows. Larger batches than ``batch``
    are never tried: results depend on the batch in their last digits, and they should not depend on memory that is free
    by chance. On the CPU the parts are always the same.

    Raises:
        torch.OutOfMemoryError: there is no memory for a single row.
    """
    start = 0
    while True:
        parts = [tensor[start : start + batch] for tensor in rows]
        result = _try(work, parts)
        if result is None:
            batch = len(parts[0]) // 2
            torch.cuda.empty_cache()  # blocks that are too small for a part of another size
            continue
        yield result
        start += len(parts[0])
        if start >= len(rows[0]):
            return


def _try(work: Callable[..., Tensor], parts: list[Tensor]) -> Tensor | None:
    """Return the result of the work; None where there is no memory for it, but may be for a half."""
    try:
        return work(*parts)
    except torch.OutOfMemoryError:
        if len(parts[0]) <= 1:
            raise
        return None
