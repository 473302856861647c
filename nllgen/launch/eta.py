"""How fast a study gets on, and how long it still takes."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from nllgen.launch.status import TaskReport
from nllgen.launch.tasks import seconds_of
from nllgen.planning.cost import cell_cost
from nllgen.storage.states import TaskStatus
from nllgen.study.config import Study

_WINDOW_S = 3600.0
_UNFINISHED = (TaskStatus.RUNNING, TaskStatus.QUEUED, TaskStatus.WAITING)


def duration(seconds: float) -> str:
    """Return for example ``3 h 20 min``, in seconds below two minutes."""
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    days, hours = divmod(minutes // 60, 24)
    return f"{days} days {hours} h" if days else f"{hours} h {minutes % 60} min"


@dataclass(frozen=True)
class Throughput:
    """What can be said at one moment; None where nothing can.

    Attributes:
        cells_per_hour: that became results in the last hour.
        steps_per_hour: of training, over all cells, since this study is being watched.
        seconds_left: if as many cells run at once as now.
    """

    cells_per_hour: float | None
    steps_per_hour: float | None
    seconds_left: float | None


@dataclass
class ThroughputMeter:
    """Looks again and again.

    Attributes:
        study: that is watched.
    """

    study: Study
    _seconds: dict[str, float] = field(init=False)
    _per_step: dict[str, float] = field(init=False)
    _steps: dict[str, int] = field(init=False)
    _first: tuple[float, dict[str, int]] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._seconds = seconds_of(self.study)
        self._per_step = {cell.id: cell_cost(cell, self.study).seconds_per_step for cell in self.study.cells}
        self._steps = {cell.id: cell.paradigm.steps for cell in self.study.cells}

    def query(self, rows: Sequence[TaskReport], now: float | None = None) -> Throughput:
        """Learn from the rows of one moment.

        Args:
            rows: of all tasks.
            now: seconds since the epoch; the clock's where None.
        """
        now = time.time() if now is None else now
        return Throughput(self._cells_per_hour(rows, now), self._steps_per_hour(rows, now), self._seconds_left(rows))

    def _cells_per_hour(self, rows: Sequence[TaskReport], now: float) -> float | None:
        ages = []
        for row in rows:
            if row.name in self._steps and row.finished_at:
                with contextlib.suppress(ValueError):
                    ages.append(now - datetime.fromisoformat(row.finished_at).timestamp())
        recent = [max(age, 0.0) for age in ages if age < _WINDOW_S]
        if not recent:
            return None
        window = max(recent) if len(recent) == len(ages) else _WINDOW_S  # it may have begun less than an hour ago
        return 3600 * len(recent) / max(window, 60.0)

    def _steps_per_hour(self, rows: Sequence[TaskReport], now: float) -> float | None:
        steps = {row.name: self._steps.get(row.name, 0) if row.has_result else row.step for row in rows}
        if self._first is None:
            self._first = (now, steps)
        since, before = self._first
        if now - since < 1.0:
            return None
        # a cell that was begun anew has fewer
        return 3600 * sum(max(0, n - before.get(name, 0)) for name, n in steps.items()) / (now - since)

    def _seconds_left(self, rows: Sequence[TaskReport]) -> float | None:
        """Of estimated work, corrected by what finished cells took, shared by the cells that run now."""
        worker_slots = sum(row.status is TaskStatus.RUNNING for row in rows)
        if not worker_slots:
            return None
        ratios = [
            row.seconds_per_step / self._per_step[row.name]
            for row in rows
            if row.has_result and row.seconds_per_step > 0 and self._per_step.get(row.name, 0) > 0
        ]
        ratio = statistics.median(ratios) if ratios else 1.0
        parts = [
            self._seconds.get(row.name, 0.0) * ratio * (1 - (row.step / row.steps if row.steps else 0.0))
            for row in rows
            if row.status in _UNFINISHED
        ]
        return max(sum(parts) / worker_slots, max(parts, default=0.0))
