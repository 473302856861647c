"""The plan of a study: which tasks run, why, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nllgen.planning.calibration import AS_SHIPPED, Calibration, KnownCalibration
from nllgen.planning.cost import CellCost, cell_cost, dataset_seconds, has_penalty
from nllgen.planning.gpu import ASSUMED, GpuRate, gpu_memory_gb, gpu_rate, is_gpu
from nllgen.planning.reasons import ContainerRule, reason_of
from nllgen.planning.wall_time import wall_seconds
from nllgen.storage.states import Expected, ResultState, TaskFiles, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, TaskKind, tasks_of
from nllgen.study.config import AdversarialConfig, Cell, Study
from nllgen.study.lenets import domains_of, missing_lenets

if TYPE_CHECKING:
    from nllgen.study.run_options import CellTiming

SpeedKey = tuple[object, ...]
_NO_TIMINGS: Mapping[SpeedKey, CellTiming] = {}


class Action(StrEnum):
    """Actions that a plan has for a task."""

    RUN = "run"
    SKIP = "skip"


class Estimate(StrEnum):
    """Sources of an estimate of time."""

    MEASURED = "measured"  # a run of the same model under this root
    ANALYTIC = "analytic"  # the configuration alone
    TIMED = "timed"  # a few steps of a model of the user's own, for this plan
    NONE = "none"  # nothing runs, or a model of the user's own that was neither run nor timed


@dataclass(frozen=True)
class PlanRow:
    """One task of a plan.

    Attributes:
        id: of the cell; of the truth for its data set.
        label, reason: for people.
        seconds: still to be computed, on one core; 0 if skipped.
        memory_gb: at its peak.
        eval_seconds: of ``seconds``, those of evaluations.
        gpu_seconds, gpu_memory_gb: of one run on a GPU, where it gets one; 0 without.
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
    gpu_seconds: float = 0.0
    gpu_memory_gb: float = 0.0


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
        gpus: of each run; GPU-hours are counted where there are any.
        gpu_rate: by which GPU-hours are estimated.
        unmeasured: reasons why metrics that are asked for cannot be measured.
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
    gpus: int = 0
    gpu_rate: GpuRate = ASSUMED
    unmeasured: tuple[str, ...] = ()

    @property
    def gpu_hours(self) -> float:
        """Return the GPU-hours of everything that runs."""
        return self.gpus * sum(row.gpu_seconds for row in self.rows) / 3600

    @property
    def num_run(self) -> int:
        """Return the number of tasks that run."""
        return sum(row.action is Action.RUN for row in self.rows)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Return the ids of the cells that run and whose costs nothing shows."""
        return tuple(row.id for row in self.rows if row.action is Action.RUN and row.estimate is Estimate.NONE)

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
        rates = {"calibration": self.calibration.to_json(), "gpu_rate": self.gpu_rate.to_json()}
        totals |= {"gpu_hours": self.gpu_hours}
        return {**vars(self), **totals, **rates, "rows": [vars(row).copy() for row in self.rows]}


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
    gpus: int | None = None,
    timings: Mapping[SpeedKey, CellTiming] = _NO_TIMINGS,
) -> Plan:
    """Decide what runs. Reads no file.

    Args:
        study: as it is resolved, or frozen.
        files: name of a task → its files; a task that is absent has none.
        cores: that work is spread over, each cell taking ``resources.cpus``.
        container: that runs are to be made in, None without one.
        tasks: of the study, where they are known already.
        calibration: by which times are estimated.
        gpus: of each run; the study's where None.
        timings: of models of the user's own, by :func:`speed_key`.
    """
    assert cores >= 1
    tasks = tasks or tasks_of(study, StudyDir(Path(study.name)))  # no path of theirs is looked at
    gpus = study.resources.gpus if gpus is None else gpus
    rate = gpu_rate(study, tasks, files) if gpus else ASSUMED
    pricer = _Pricer(study, _measured_speeds(tasks, files), calibration.values, rate if gpus else None, timings)
    missing = TaskFiles(ResultState.MISSING)
    rows = [_row(task, files.get(task.name, missing), pricer, container) for task in tasks]
    first = sum(row.seconds for row in rows if row.kind is not TaskKind.CELL)
    seconds = [row.seconds for row in rows if row.kind is TaskKind.CELL and row.seconds]
    wall = wall_seconds(first, seconds, max(1, cores // study.resources.cpus), cores, calibration.values)
    core_hours = (first + sum(seconds)) / 3600
    weightless = tuple(name for name, file in files.items() if file.state is ResultState.WEIGHTLESS)
    unmeasured = tuple(missing_lenets(study.metrics.frechet, domains_of(study)))
    return Plan(study.name, tuple(rows), cores, core_hours, wall, study.left_out, weightless=weightless,
                calibration=calibration, gpus=gpus, gpu_rate=rate, unmeasured=unmeasured)  # fmt: skip


def speed_key(cell: Cell) -> SpeedKey:
    """Return all that decides the time of a step."""
    paradigm, fresh = cell.paradigm, cell.data.num_train == "fresh"
    disc = (paradigm.disc_steps, paradigm.disc_width) if isinstance(paradigm, AdversarialConfig) else ()
    return (cell.architecture, paradigm.name, paradigm.batch_size, cell.precision, fresh, has_penalty(cell), *disc)


def _measured_speeds(tasks: Sequence[Task], files: Mapping[str, TaskFiles]) -> dict[SpeedKey, float]:
    """Return the mean seconds of a step over all that was measured, for each kind of step."""
    cells: dict[tuple[object, ...], Cell] = {}
    seconds_of: dict[tuple[object, ...], list[float]] = {}
    for task in tasks if files else ():
        seconds = files[task.name].seconds_per_step if task.name in files else None
        if task.kind is TaskKind.DATASET or not seconds or not math.isfinite(seconds):
            continue
        if not is_gpu(files[task.name].device):
            key = _identity_key(task.cell)
            cells.setdefault(key, task.cell)
            seconds_of.setdefault(key, []).append(seconds)
    speeds: dict[tuple[object, ...], list[float]] = {}
    for key, cell in cells.items():
        speeds.setdefault(speed_key(cell), []).extend(seconds_of[key])
    return {key: sum(values) / len(values) for key, values in speeds.items()}


def _identity_key(cell: Cell) -> tuple[object, ...]:
    """Return what differs between cells that differ in more than seed and start.

    A grid's cells share equal sections, and identity is looked up ten times faster than equality.
    """
    return (id(cell.data), id(cell.architecture), id(cell.paradigm), cell.precision)


class _Pricer:
    """Prices of tasks; all of a cell but its seed and its number of steps is looked up once."""

    def __init__(
        self,
        study: Study,
        speeds: Mapping[SpeedKey, float],
        calibration: Calibration,
        gpu_rate: GpuRate | None,
        timings: Mapping[SpeedKey, CellTiming],
    ):
        self.study = study
        self.timings = timings
        self.gpu_rate = gpu_rate
        self.calibration = calibration
        self.speeds = speeds
        self.costs: dict[tuple[object, ...], tuple[CellCost, float | None, bool]] = {}

    def price(self, row: PlanRow, task: Task, files: TaskFiles) -> PlanRow:
        """Return the row of a task that runs with its costs."""
        if task.kind is TaskKind.DATASET:
            return replace(row, seconds=dataset_seconds(self.study, self.calibration), estimate=Estimate.ANALYTIC)
        cell = task.cell
        key = (*_identity_key(cell), cell.has_prediction)  # which takes time, and depends on the start
        if key not in self.costs:
            timing = self.timings.get(speed_key(cell)) if cell.model else None
            cost = cell_cost(cell, self.study, self.calibration, timing)
            self.costs[key] = (cost, self.speeds.get(speed_key(cell)), timing is not None)
        cost, measured, is_timed = self.costs[key]
        step = files.step or 0 if files.state is ResultState.PARTIAL else 0
        steps = max(0, cell.paradigm.steps - step)
        # nothing is known of a model of the user's own before it was run or timed
        unknown = Estimate.TIMED if is_timed else Estimate.NONE if cell.model is not None else Estimate.ANALYTIC
        estimate = unknown if measured is None else Estimate.MEASURED
        seconds = cost.seconds(steps, measured, resumed=step > 0)
        row = replace(row, seconds=seconds, estimate=estimate, memory_gb=cost.memory_gb, eval_seconds=cost.eval_seconds)
        if self.gpu_rate is None:
            return row
        on_core = cell_cost(cell, self.study).seconds(steps, resumed=step > 0)
        return replace(row, gpu_seconds=on_core / self.gpu_rate.cores, gpu_memory_gb=gpu_memory_gb(cell))


def _row(task: Task, files: TaskFiles, pricer: _Pricer, container: ContainerRule | None) -> PlanRow:
    label, data = task.label, pricer.study.dataset
    if task.kind is TaskKind.TRUTH:
        label = f"truth {task.cell.label}"
    elif task.kind is TaskKind.DATASET:
        label = f"dataset {data.num_train} + {data.num_val} + {data.num_test} images"
    action = Action.RUN if files.state.is_to_run else Action.SKIP
    row = PlanRow(task.kind, task.cell.id, label, action, reason_of(task, files, container))
    return pricer.price(row, task, files) if action is Action.RUN else row
