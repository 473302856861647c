"""Small models, which are limited by the number of operations: several runs at once, each on its own core."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmarks.steps import BATCH, median_seconds, nll_step

NUM = len(os.sched_getaffinity(0))
SECONDS = 4.0
ROUNDS = 5
# image size, width, blocks, and half of the milliseconds that a prototype's step took
SMALL = ((14, 16, 2, 32), (14, 8, 1, 15))

_step: Callable[[], object]


def _begin(width: int, blocks: int, x: Tensor) -> None:
    global _step
    torch.set_num_threads(1)
    _step = nll_step(width, blocks, x)
    _step()


def images_per_second(step: Callable[[], object]) -> float:
    """Take steps for ``SECONDS`` and return the images a second."""
    num, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < SECONDS:
        step()
        num += 1
    return num * BATCH / took


def _rate(_: int) -> float:
    return images_per_second(_step)


@contextmanager
def packed(width: int, blocks: int, x: Tensor) -> Iterator[Callable[[], float]]:
    """Start an NLL run on each core; yield a function that returns their images a second in total."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(NUM, context, _begin, (width, blocks, x)) as pool:
        list(pool.map(_rate, range(NUM)))  # waits until all have begun
        yield lambda: sum(pool.map(_rate, range(NUM)))


def rows() -> list[tuple[str, str, str]]:
    """Return rows of (work, measured, goal)."""
    torch.manual_seed(0)
    table = []
    for size, width, blocks, goal in SMALL:
        x = torch.randn(BATCH, 1, size, size)
        alone = median_seconds(nll_step(width, blocks, x))
        with packed(width, blocks, x) as rate:
            each = BATCH / statistics.median(rate() for _ in range(ROUNDS))
        what = f"NLL step, {size}×{size}, width {width}, {blocks} blocks, batch {BATCH}"
        table.append((f"{what}: a run on all cores", f"{alone * 1e3:.1f} ms a step", "—"))
        table.append((f"{what}: {NUM} runs, a core each", f"{each * 1e3:.1f} ms a step", f"≤ {goal} ms"))
    return table
