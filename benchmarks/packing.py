"""Small models, which are limited by the number of operations: several runs at once, each on its own core."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch

from benchmarks.steps import BATCH, median_seconds, nll_step
from nllgen.study.hardware import num_cores

NUM = num_cores()
SECONDS = 4.0
ROUNDS = 5
# image size, width, blocks, and half of the milliseconds that a prototype's step took
SMALL = ((14, 16, 2, 32), (14, 8, 1, 15))

Step = Callable[[], object]

_step: Step


def _begin(make_step: Callable[[], Step]) -> None:
    global _step
    torch.set_num_threads(1)
    _step = make_step()
    _step()


def images_per_second(step: Step, images: int = BATCH, seconds: float = SECONDS) -> float:
    """Take steps of ``images`` for some seconds and return the images a second."""
    num, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < seconds:
        step()
        num += 1
    return num * images / took


def _rate(images: int, seconds: float) -> float:
    return images_per_second(_step, images, seconds)


@contextmanager
def packed(
    make_step: Callable[[], Step], num: int = NUM, images: int = BATCH, seconds: float = SECONDS
) -> Iterator[Callable[[], float]]:
    """Start as many runs, each in a process with one thread; yield a function that returns their images a second.

    Args:
        make_step: makes the step of a run, in its process.
        num: number of runs.
        images: images of a step.
        seconds: time that each run takes steps for.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num, context, _begin, (make_step,)) as pool:

        def rate() -> float:
            return sum(pool.map(_rate, [images] * num, [seconds] * num))

        rate()  # waits until all have begun
        yield rate


def rows() -> list[tuple[str, str, str]]:
    """Return rows of (work, measured, goal)."""
    torch.manual_seed(0)
    table = []
    for size, width, blocks, goal in SMALL:
        x = torch.randn(BATCH, 1, size, size)
        alone = median_seconds(nll_step(width, blocks, x))
        with packed(partial(nll_step, width, blocks, x)) as rate:
            each = BATCH / statistics.median(rate() for _ in range(ROUNDS))
        what = f"NLL step, {size}×{size}, width {width}, {blocks} blocks, batch {BATCH}"
        table.append((f"{what}: a run on all cores", f"{alone * 1e3:.1f} ms a step", "—"))
        table.append((f"{what}: {NUM} runs, a core each", f"{each * 1e3:.1f} ms a step", f"≤ {goal} ms"))
    return table
