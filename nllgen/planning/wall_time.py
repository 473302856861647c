"""The wall time of a plan: its tasks in their order, spread over the cores."""

from __future__ import annotations

import heapq

from nllgen.planning.calibration import Calibration


def wall_seconds(first: float, cells: list[float], workers: int, cores: int, calibration: Calibration) -> float:
    """Return the wall time of the first tasks in turn and of cells on workers at once, and of the workers' starts.

    The more of the cores are busy, the slower is each.
    """
    busy = min(workers, len(cells))
    slower = 1 + (calibration.busy_ratio - 1) * (busy - 1) / max(1, cores - 1) if busy else 1.0
    # the worker of the first tasks goes on with cells, and others start when these can run
    starts = (first > 0) + (busy > 1 or (busy == 1 and not first))
    return first + slower * _makespan(cells, workers) + starts * calibration.start_s


def _makespan(seconds: list[float], workers: int) -> float:
    """Return the wall time of independent work, the longest first, each on the worker that is free first."""
    free = [0.0] * min(workers, max(1, len(seconds)))
    for duration in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + duration)
    return max(free)
