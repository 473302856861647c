"""Throughput of a study, and its estimated time of arrival."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from nllgen.launch.status import TaskReport
from nllgen.launch.tasks import seconds_of
from nllgen.planning.calibration import known_calibration
from nllgen.planning.cost import cell_cost
from nllgen.storage.states import TaskStatus
from nllgen.study.config import Study

_WINDOW_S = 3600.0
_MIN_WINDOW_S = 60.0
_UNFINISHED = (TaskStatus.RUNNING, TaskStatus.QUEUED, TaskStatus.WAITING)


@dataclass(frozen=True)
class Throughput:
    """The throughput at one moment; a value is None if it cannot be estimated."""

    cells_per_hour: float | None  # cells that were finished in the last hour
    steps_per_hour: float | None  # training steps of all cells, since the meter was first read
    seconds_left: float | None  # time left if as many cells run at once as now


@dataclass
class ThroughputMeter:
    """Measures throughput from repeated reports."""

    study: Study
    _seconds: dict[str, float] = field(init=False)
    _seconds_per_step: dict[str, float] = field(init=False)
    _steps: dict[str, int] = field(init=False)
    _first: tuple[float, dict[str, int]] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._seconds = seconds_of(self.study)
        calibration = known_calibration().values
        costs = {cell.id: cell_cost(cell, self.study, calibration) for cell in self.study.cells}
        self._seconds_per_step = {cell_id: cost.seconds_per_step for cell_id, cost in costs.items()}
        self._steps = {cell.id: cell.paradigm.steps for cell in self.study.cells}

    def query(self, reports: Sequence[TaskReport], now: float | None = None) -> Throughput:
        """Return the throughput after new reports of all tasks, at a time in seconds since the epoch or at present."""
        now = time.time() if now is None else now
        return Throughput(
            self._cells_per_hour(reports, now), self._steps_per_hour(reports, now), self._seconds_left(reports)
        )

    def _cells_per_hour(self, reports: Sequence[TaskReport], now: float) -> float | None:
        ages = []
        for report in reports:
            if report.name in self._steps and report.finished_at:
                with contextlib.suppress(ValueError):
                    ages.append(now - datetime.fromisoformat(report.finished_at).timestamp())
        recent = [max(age, 0.0) for age in ages if age < _WINDOW_S]
        if not recent:
            return None
        window_s = max(recent) if len(recent) == len(ages) else _WINDOW_S  # the study may be younger than an hour
        return 3600 * len(recent) / max(window_s, _MIN_WINDOW_S)

    def _steps_per_hour(self, reports: Sequence[TaskReport], now: float) -> float | None:
        steps = {
            report.name: self._steps.get(report.name, 0) if report.has_result else report.step for report in reports
        }
        if self._first is None:
            self._first = (now, steps)
        since, before = self._first
        if now - since < 1.0:
            return None
        # a cell that was started anew has fewer steps than before
        num_steps = sum(max(0, step - before.get(name, 0)) for name, step in steps.items())
        return 3600 * num_steps / (now - since)

    def _seconds_left(self, reports: Sequence[TaskReport]) -> float | None:
        """Divide the estimated work that is left, corrected by finished cells, among the cells that run now."""
        num_running = sum(report.status is TaskStatus.RUNNING for report in reports)
        if not num_running:
            return None
        ratio = self._measured_to_estimated(reports)
        parts = [
            self._seconds.get(report.name, 0.0) * ratio * (1 - (report.step / report.steps if report.steps else 0.0))
            for report in reports
            if report.status in _UNFINISHED
        ]
        return max(sum(parts) / num_running, max(parts, default=0.0))

    def _measured_to_estimated(self, reports: Sequence[TaskReport]) -> float:
        """Return the median ratio of measured to estimated duration over finished cells; 1 if there are none."""
        ratios = [
            report.seconds_per_step / self._seconds_per_step[report.name]
            for report in reports
            if report.has_result and report.seconds_per_step > 0 and self._seconds_per_step.get(report.name, 0) > 0
        ]
        return statistics.median(ratios) if ratios else 1.0
