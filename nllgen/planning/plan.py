"""The plan of a study: which tasks run, why, and what they cost."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from nllgen.planning.calibration import AS_SHIPPED, Calibration, KnownCalibration
from nllgen.planning.cost import CellCost, cell_cost, dataset_seconds, has_penalty
from nllgen.storage.states import Expected, ResultState, TaskFiles, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, TaskKind, tasks_of
from nllgen.study.config import AdversarialConfig, Cell, Study


class Action(StrEnum):
    """Actions that a plan has for a task."""

    RUN = "run"
    SKIP = "skip"


class Estimate(StrEnum):
    """Sources of an estimate of time."""

    MEASURED = "measured"  # a run of the same model under this root
    ANALYTIC = "analytic"  # the configuration alone
    NONE = "none"  # nothing runs, or a model of the user's own that has not run yet


@dataclass(frozen=True)
class ContainerRule:
    """The container that runs are to be made in.

    Attributes:
        sha256: its digest.
        strict: results that another one made do not count.
    """

    sha256: str
    strict: bool = False


@dataclass(frozen=True)
class PlanRow:
    """One task of a plan.

    Attributes:
        id: of the cell; of the truth for its data set.
        label, reason: for people.
        seconds: still to be computed, on one core; 0 if skipped.
        memory_gb: at its peak.
        eval_seconds: of ``seconds``, those of evaluations.
    """

    kind: TaskKind
    id: str
    label: str
    action: Action
    reason: str
    seconds: float = 0.0
    estimate: Estimate = Estimate.NONE
    memory_gb: float = 0.0
    eval_seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Every task in the order of running, and the totals.

    Attributes:
        study: its name.
        core_hours: of everything that runs.
        wall_seconds: truth, then dataset, then cells spread over the cores, and the starts of their workers.
        left_out: sources of data that are not there, and whose cells are no rows.
        elsewhere: other study under the same root → number of the cells to run that have a result there.
        weightless: names of the tasks whose numbers count and whose weights are gone.
        calibration: by which times are estimated.
    """

    study: str
    rows: tuple[PlanRow, ...]
    cores: int
    core_hours: float
    wall_seconds: float
    left_out: tuple[str, ...] = ()
    elsewhere: Mapping[str, int] = field(default_factory=dict)
    weightless: tuple[str, ...] = ()
    calibration: KnownCalibration = AS_SHIPPED

    @property
    def num_run(self) -> int:
        """Return the number of tasks that run."""
        return sum(row.action is Action.RUN for row in self.rows)

    @property
    def num_skip(self) -> int:
        """Return the number of tasks that are skipped."""
        return len(self.rows) - self.num_run

    @property
    def evaluation_share(self) -> float:
        """Return the share of the core-hours that evaluations take; 0 where nothing runs."""
        return sum(row.eval_seconds for row in self.rows) / 3600 / self.core_hours if self.core_hours else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain values, for ``plan --json``."""
        totals = {"num_run": self.num_run, "num_skip": self.num_skip, "evaluation_share": self.evaluation_share}
        calibration = self.calibration.to_json()
        return {**vars(self), **totals, "rows": [vars(row).copy() for row in self.rows], "calibration": calibration}


def inspect_study(
    study: Study, study_dir: StudyDir, container: ContainerRule | None = None, tasks: Sequence[Task] = ()
) -> dict[str, TaskFiles]:
    """Judge the files of every task; return them by the task's name."""
    expected = Expected.of(study, study_dir, container.sha256 if container and container.strict else None)
    return {task.name: inspect(task, expected) for task in tasks or tasks_of(study, study_dir)}


def make_plan(
    study: Study,
    files: Mapping[str, TaskFiles],
    *,
    cores: int = 1,
    container: ContainerRule | None = None,
    tasks: Sequence[Task] = (),
    calibration: KnownCalibration = AS_SHIPPED,
) -> Plan:
    """Decide what runs. Reads no file.

    Args:
        study: as it is resolved, or frozen.
        files: name of a task → its files; a task that is absent has none.
        cores: that work is spread over, each cell taking ``resources.cpus``.
        container: that runs are to be made in, None without one.
        tasks: of the study, where they are known already.
        calibration: by which times are estimated.
    """
    assert cores >= 1
    tasks = tasks or tasks_of(study, StudyDir(Path(study.name)))  # no path of theirs is looked at
    pricer = _Pricer(study, _measured_speeds(tasks, files), calibration.values)
    missing = TaskFiles(ResultState.MISSING)
    rows = [_row(task, files.get(task.name, missing), pricer, container) for task in tasks]
    first = sum(row.seconds for row in rows if row.kind is not TaskKind.CELL)
    seconds = [row.seconds for row in rows if row.kind is TaskKind.CELL and row.seconds]
    wall = _wall_seconds(first, seconds, max(1, cores // study.resources.cpus), cores, calibration.values)
    core_hours = (first + sum(seconds)) / 3600
    weightless = tuple(name for name, file in files.items() if file.state is ResultState.WEIGHTLESS)
    return Plan(study.name, tuple(rows), cores, core_hours, wall, study.left_out, weightless=weightless,
                calibration=calibration)  # fmt: skip


def _wall_seconds(first: float, cells: list[float], workers: int, cores: int, calibration: Calibration) -> float:
    """Return the wall time of the first tasks in turn and of cells on workers at once, and of the workers' starts.

    The more of the cores are busy, the slower is each.
    """
    busy = min(workers, len(cells))
    slower = 1 + (calibration.busy_ratio - 1) * (busy - 1) / max(1, cores - 1) if busy else 1.0
    # the worker of the first tasks goes on with cells, and others start when these can run
    starts = (first > 0) + (busy > 1 or (busy == 1 and not first))
    return first + slower * _makespan(cells, workers) + starts * calibration.start_s


def _speed_key(cell: Cell) -> tuple[object, ...]:
    """Return all that decides the time of a step."""
    paradigm, fresh = cell.paradigm, cell.data.num_train == "fresh"
    disc = (paradigm.disc_steps, paradigm.disc_width) if isinstance(paradigm, AdversarialConfig) else ()
    return (cell.architecture, paradigm.name, paradigm.batch_size, cell.precision, fresh, has_penalty(cell), *disc)


def _measured_speeds(tasks: Sequence[Task], files: Mapping[str, TaskFiles]) -> dict[tuple[object, ...], float]:
    """Return the mean seconds of a step over all that was measured, for each kind of step."""
    cells: dict[tuple[object, ...], Cell] = {}
    seconds_of: dict[tuple[object, ...], list[float]] = {}
    for task in tasks if files else ():
        seconds = files[task.name].seconds_per_step if task.name in files else None
        if task.kind is not TaskKind.DATASET and seconds and math.isfinite(seconds):
            key = _identity_key(task.cell)
            cells.setdefault(key, task.cell)
            seconds_of.setdefault(key, []).append(seconds)
    speeds: dict[tuple[object, ...], list[float]] = {}
    for key, cell in cells.items():
        speeds.setdefault(_speed_key(cell), []).extend(seconds_of[key])
    return {key: sum(values) / len(values) for key, values in speeds.items()}


def _identity_key(cell: Cell) -> tuple[object, ...]:
    """Return what differs between cells that differ in more than seed and start.

    A grid's cells share equal sections, and identity is looked up ten times faster than equality.
    """
    return (id(cell.data), id(cell.architecture), id(cell.paradigm), cell.precision)


class _Pricer:
    """Prices of tasks; all of a cell but its seed and its number of steps is looked up once."""

    def __init__(self, study: Study, speeds: Mapping[tuple[object, ...], float], calibration: Calibration):
        self.study = study
        self.calibration = calibration
        self.speeds = speeds
        self.costs: dict[tuple[object, ...], tuple[CellCost, float | None]] = {}

    def price(self, row: PlanRow, task: Task, files: TaskFiles) -> PlanRow:
        """Return the row of a task that runs with its costs."""
        if task.kind is TaskKind.DATASET:
            return replace(row, seconds=dataset_seconds(self.study, self.calibration), estimate=Estimate.ANALYTIC)
        cell = task.cell
        key = _identity_key(cell)
        if key not in self.costs:
            self.costs[key] = (cell_cost(cell, self.study, self.calibration), self.speeds.get(_speed_key(cell)))
        cost, measured = self.costs[key]
        step = files.step or 0 if files.state is ResultState.PARTIAL else 0
        steps = max(0, cell.paradigm.steps - step)
        # nothing is known of a model of the user's own before it has run
        unknown = Estimate.NONE if cell.model is not None else Estimate.ANALYTIC
        estimate = unknown if measured is None else Estimate.MEASURED
        seconds = cost.seconds(steps, measured, resumed=step > 0)
        return replace(
            row, seconds=seconds, estimate=estimate, memory_gb=cost.memory_gb, eval_seconds=cost.eval_seconds
        )


def _row(task: Task, files: TaskFiles, pricer: _Pricer, container: ContainerRule | None) -> PlanRow:
    label, data = task.label, pricer.study.dataset
    if task.kind is TaskKind.TRUTH:
        label = f"truth {task.cell.label}"
    elif task.kind is TaskKind.DATASET:
        label = f"dataset {data.num_train} + {data.num_val} + {data.num_test} images"
    action = Action.RUN if files.state.is_to_run else Action.SKIP
    row = PlanRow(task.kind, task.cell.id, label, action, _reason(task, files, container))
    return pricer.price(row, task, files) if action is Action.RUN else row


def _reason(task: Task, files: TaskFiles, container: ContainerRule | None) -> str:
    """Return in words why a task runs or is skipped."""
    detail = files.detail
    match files.state:
        case ResultState.MISSING:
            return "no result"
        case ResultState.PARTIAL if task.kind is TaskKind.CELL and files.step is not None:
            return f"checkpoint at step {files.step} of {task.cell.paradigm.steps}: resumes"
        case ResultState.PARTIAL:
            return f"partial{f' ({detail})' if detail else ''}: goes on"
        case ResultState.DAMAGED:
            return f"result is damaged ({detail or 'unreadable'}): runs again"
        case ResultState.STALE:
            return f"{detail}: does not count, runs again"
        case ResultState.LOCKED:
            return f"cannot be read now ({detail}): left as it is"
        case ResultState.DIVERGED if task.kind is TaskKind.TRUTH:
            return "diverged: nothing that needs it can run; change the truth in the grid"
        case ResultState.DIVERGED:
            reason = "diverged: a recorded outcome, not run again"
        case ResultState.WEIGHTLESS:
            reason = f"{detail}: the numbers count, nothing more can be measured"
        case ResultState.COMPLETE:
            reason = f"{detail}, done" if detail else "done"
    if container is None or task.kind is TaskKind.DATASET or files.container_sha256 == container.sha256:
        return reason
    made_in = f"container {files.container_sha256[:12]}" if files.container_sha256 else "no container"
    return f"{reason}, but made in {made_in}"


def _makespan(seconds: list[float], workers: int) -> float:
    """Return the wall time of independent work, the longest first, each on the worker that is free first."""
    free = [0.0] * min(workers, max(1, len(seconds)))
    for duration in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + duration)
    return max(free)
