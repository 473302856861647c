"""Timings of steps and of passes on one core, for the estimates of plans.

Processor time is measured, so that other programs on the machine hardly count.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from nllgen.data.sources import Finite, Source
from nllgen.errors import NllgenError
from nllgen.metrics.distances import nearest
from nllgen.models import DensityModel, Model
from nllgen.models.model import eval_mode
from nllgen.storage.processes import completed
from nllgen.study.config import Cell
from nllgen.study.run_options import CellTiming, TimingAnswer, TimingOrder
from nllgen.train.state import TrainState
from nllgen.worker.factory import CellData, make_state
from nllgen.worker.loop import is_out_of_memory
from nllgen.worker.run_task import exact_arithmetic
from nllgen.worker.setup import keep_freed_memory

_CPU = torch.device("cpu")
_BUDGET_S = 0.2  # for each number; the slowest calls take longer
_NUM_CALLS = 2  # at least
_NUM_IMAGES = 250
_DIM = 84  # of LeNet's features
_PAIRS = (160, 50_000)  # fills the memory of a block of distances


def answer(order: TimingOrder) -> TimingAnswer:
    """Time what an order asks for."""
    start_s = time.process_time()
    keep_freed_memory()
    torch.set_num_threads(1)
    exact_arithmetic()
    cells = [Cell.model_validate_json(text) for text in order.cells]
    timings = tuple(map(_timing, cells))
    if not order.processes:
        return TimingAnswer(timings, start_s)
    return TimingAnswer(timings, start_s, _pair_s(), _busy_ratio(cells[0], order.processes))


def _timing(cell: Cell) -> CellTiming:
    if cell.paradigm.needs_truth:
        return CellTiming(reason=f"{cell.paradigm.name} needs the truth")
    try:
        state = _state(cell)
        model = state.flow
        assert isinstance(model, Model)
        step_s = _seconds(_step(state))
        if cell.precision != "fp32" and cell.model is None:  # of one that is timed in fp32, where passes are, too
            return CellTiming(step_s)
        with torch.no_grad(), eval_mode(model):
            return replace(_passes(model), step_s=step_s)
    except NllgenError as error:
        return CellTiming(reason=error.message)
    except Exception as error:  # the user's code may raise anything, and a batch may not fit into memory
        reason = "out of memory" if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
        return CellTiming(reason=reason)


def _passes(model: Model) -> CellTiming:
    """Time a pass in either direction."""
    generator = torch.Generator().manual_seed(0)
    sample_s = _seconds(lambda: model.sample(_NUM_IMAGES, generator)) / _NUM_IMAGES
    if not isinstance(model, DensityModel):
        return CellTiming(sample_s=sample_s)
    x = model.sample(_NUM_IMAGES, generator)
    return CellTiming(density_s=_seconds(lambda: model.log_prob(x)) / _NUM_IMAGES, sample_s=sample_s)


def _state(cell: Cell) -> TrainState:
    """Make the state of a cell on normal random images, which cost what others do."""
    images = torch.randn(max(cell.paradigm.batch_size, 2), *cell.data.shape)

    def source(order: torch.Generator, _: torch.Generator) -> Source:
        return Finite(images, order)

    return make_state(cell, CellData(source, {}, training=None), None, _CPU)


def _step(state: TrainState) -> Callable[[], object]:
    steps = iter(range(10**9))
    return lambda: state.paradigm.step(state.source.next, next(steps))


def _seconds(work: Callable[[], object]) -> float:
    """Return the processor time of a call: the lower quartile, after one to warm up."""
    work()
    times: list[float] = []
    end = time.perf_counter() + _BUDGET_S
    while len(times) < _NUM_CALLS or time.perf_counter() < end:
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return sorted(times)[len(times) // 4]


def _busy_ratio(cell: Cell, num_processes: int) -> float:
    """Return the seconds of a step in several processes at once, relative to a step alone."""
    if num_processes < 2:
        return 1.0
    alone = _step_seconds(cell)
    forks = completed(_step_seconds, [cell] * num_processes, num_processes, "times steps", start="fork")
    together = [seconds for _, seconds in forks]
    return max(1.0, sum(together) / len(together) / alone)


def _step_seconds(cell: Cell) -> float:
    return _seconds(_step(_state(cell)))


def _pair_s() -> float:
    """Return the seconds of a distance between two images by LeNet's features."""
    samples, training = (torch.randn(num, _DIM, dtype=torch.float64) for num in _PAIRS)
    return _seconds(lambda: nearest(samples, training)) / math.prod(_PAIRS)
