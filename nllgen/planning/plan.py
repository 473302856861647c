"""What would run, why, and what it costs. Reads no file: its caller says what was found."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from nllgen.planning.cost import CellCost, cell_cost, dataset_seconds, has_penalty
from nllgen.study.config import AdversarialConfig, Cell, Study

Action = Literal["run", "skip"]
Estimate = Literal["measured", "analytic", "none"]


@dataclass(frozen=True)
class TaskFiles:
    """What a folder holds of the truth, the dataset or a cell.

    Attributes:
        state: ``partial`` has a checkpoint, ``damaged`` cannot be read.
        detail: words for the reason, such as ``result of 2026-07-01 12:00`` or what the damage is.
        step: of the checkpoint.
        seconds_per_step: as measured while training.
        container_sha256: of the container that made it, empty without one.
    """

    state: Literal["done", "diverged", "partial", "damaged"]
    detail: str = ""
    step: int | None = None
    seconds_per_step: float | None = None
    container_sha256: str = ""


@dataclass(frozen=True)
class ContainerRule:
    """What a plan says of results that another container made.

    Attributes:
        sha256: of the container that runs are to be made in.
        strict: such results do not count.
    """

    sha256: str
    strict: bool = False


@dataclass(frozen=True)
class PlanRow:
    """One line of a plan.

    Attributes:
        reason: in words, why it runs or not.
        seconds: still to be computed, on one core; 0 if skipped.
        eval_seconds: of these, for evaluations.
        estimate: where ``seconds`` comes from: a run of the same model on this root, or configuration alone; ``none``
            where nothing runs, or for a model of the user's own of which only its truth's share is known.
    """

    kind: Literal["truth", "dataset", "cell"]
    id: str
    label: str
    action: Action
    reason: str
    seconds: float
    estimate: Estimate
    memory_gb: float = 0.0
    eval_seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Every row in the order of running, and the totals.

    Attributes:
        cores: that the wall time is for.
        core_hours: of everything that runs.
        left_out: sources of data that are not there, and whose cells are no rows.
        wall_seconds: truth, then dataset, then cells spread over the cores.
    """

    study: str
    rows: tuple[PlanRow, ...]
    cores: int
    core_hours: float
    wall_seconds: float
    left_out: tuple[str, ...] = ()

    @property
    def num_run(self) -> int:
        """Rows that run."""
        return sum(row.action == "run" for row in self.rows)

    @property
    def num_skip(self) -> int:
        """Rows that are skipped."""
        return len(self.rows) - self.num_run

    @property
    def evaluation_share(self) -> float:
        """What evaluations take of the core-hours; 0 where nothing runs."""
        return sum(row.eval_seconds for row in self.rows) / 3600 / self.core_hours if self.core_hours else 0.0

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values, for ``plan --json``."""
        totals = {"num_run": self.num_run, "num_skip": self.num_skip, "evaluation_share": self.evaluation_share}
        return {**vars(self), **totals, "rows": [vars(row).copy() for row in self.rows]}


def make_plan(
    study: Study,
    found: Mapping[str, TaskFiles],
    *,
    truth_found: TaskFiles | None = None,
    dataset_found: TaskFiles | None = None,
    cores: int = 1,
    container: ContainerRule | None = None,
) -> Plan:
    """Decide what runs.

    Args:
        study: the resolved study.
        found: cell id → what its folder holds; absent where it holds nothing.
        truth_found: the same for the truth; apart, since a cell may have the truth's id.
        dataset_found: the same for the dataset.
        cores: that work is spread over, each cell taking ``resources.cpus``.
        container: that runs are to be made in, None without one.
    """
    assert cores >= 1
    speeds = _measured_speeds(study, found, truth_found)
    price = _Pricer(study, speeds)
    rows: list[PlanRow] = []
    if study.truth is not None and study.trains_truth:
        rows.append(_row("truth", study.truth, truth_found, price, container))
    if study.truth is not None and study.needs_dataset:
        rows.append(_dataset_row(study, study.truth, dataset_found))
    first = sum(row.seconds for row in rows)
    cells = [_row("cell", cell, found.get(cell.id), price, container) for cell in study.cells]
    cpus = study.resources.cpus
    spread = _makespan([row.seconds for row in cells if row.seconds], max(1, cores // cpus))
    total = first + sum(row.seconds for row in cells)
    return Plan(study.name, (*rows, *cells), cores, total / 3600, first + spread, study.left_out)


def _speed_key(cell: Cell) -> tuple[object, ...]:
    """What decides the time of a step."""
    paradigm, fresh = cell.paradigm, cell.data.num_train == "fresh"
    disc = (paradigm.disc_steps, paradigm.disc_width) if isinstance(paradigm, AdversarialConfig) else ()
    return (cell.architecture, paradigm.name, paradigm.batch_size, cell.precision, fresh, has_penalty(cell), *disc)


def _measured_speeds(
    study: Study, found: Mapping[str, TaskFiles], truth: TaskFiles | None
) -> dict[tuple[object, ...], float]:
    """The mean over all that was measured, for each kind of step."""
    pairs = [(cell, found.get(cell.id)) for cell in study.cells] if found else []
    if study.truth is not None:
        pairs.append((study.truth, truth))
    speeds: dict[tuple[object, ...], list[float]] = {}
    for cell, what in pairs:
        if what is not None and what.seconds_per_step and math.isfinite(what.seconds_per_step):
            speeds.setdefault(_speed_key(cell), []).append(what.seconds_per_step)
    return {key: sum(values) / len(values) for key, values in speeds.items()}


class _Price(NamedTuple):
    """The last four fields of a row that runs."""

    seconds: float
    estimate: Estimate
    memory_gb: float
    eval_seconds: float


_FREE = _Price(0.0, "none", 0.0, 0.0)


class _Pricer:
    """Seconds of a cell; everything but seed and step count is looked up once."""

    def __init__(self, study: Study, speeds: Mapping[tuple[object, ...], float]):
        self.study = study
        self.speeds = speeds
        self.costs: dict[tuple[int, ...], tuple[CellCost, float | None]] = {}

    def __call__(self, cell: Cell, step: int) -> _Price:
        # the grid shares equal sub-models, and identity is looked up ten times faster than equality
        key = (id(cell.data), id(cell.architecture), id(cell.paradigm), cell.precision == "bf16")
        if key not in self.costs:
            self.costs[key] = (cell_cost(cell, self.study), self.speeds.get(_speed_key(cell)))
        cost, measured = self.costs[key]
        steps = max(0, cell.paradigm.steps - step)
        # nothing is known of a model of the user's own before it has run
        estimate: Estimate = "measured" if measured is not None else "none" if cell.model is not None else "analytic"
        seconds = cost.seconds(steps, measured, resumed=step > 0)
        return _Price(seconds, estimate, cost.memory_gb, cost.eval_seconds)


def _row(
    kind: Literal["truth", "cell"],
    cell: Cell,
    found: TaskFiles | None,
    price: Callable[[Cell, int], _Price],
    container: ContainerRule | None,
) -> PlanRow:
    action, reason = _decide(found, cell.paradigm.steps)
    if container and found and found.state in ("done", "diverged") and found.container_sha256 != container.sha256:
        made_in = f"container {found.container_sha256[:12]}" if found.container_sha256 else "no container"
        action = "run" if container.strict else action
        reason = f"{reason}, but made in {made_in}" + (": does not count, runs again" if container.strict else "")
    if kind == "truth" and found is not None and found.state == "diverged":
        reason = "diverged: nothing that needs it can run; change the truth in the grid"
    step = found.step or 0 if found is not None and found.state == "partial" else 0
    label = f"truth {cell.label}" if kind == "truth" else cell.label
    return PlanRow(kind, cell.id, label, action, reason, *(price(cell, step) if action == "run" else _FREE))


def _dataset_row(study: Study, truth: Cell, found: TaskFiles | None) -> PlanRow:
    action, reason = _decide(found, 0)
    data = study.dataset
    label = f"dataset {data.num_train} + {data.num_val} + {data.num_test} images"
    seconds = dataset_seconds(study) if action == "run" else 0.0
    return PlanRow("dataset", truth.id, label, action, reason, seconds, "analytic" if action == "run" else "none")


def _decide(found: TaskFiles | None, steps: int) -> tuple[Action, str]:
    if found is None:
        return "run", "no result"
    detail = found.detail
    if found.state == "done":
        return "skip", f"{detail}, done" if detail else "done"
    if found.state == "diverged":
        return "skip", "diverged: a recorded outcome, not run again"
    if found.state == "damaged":
        return "run", f"result is damaged ({detail or 'unreadable'}): runs again"
    if found.step is not None:
        return "run", f"checkpoint at step {found.step} of {steps}: resumes"
    return "run", f"partial{f' ({detail})' if detail else ''}: goes on"


def _makespan(seconds: list[float], workers: int) -> float:
    """Wall time of independent work, the longest first, each on the worker that is free first."""
    free = [0.0] * min(workers, max(1, len(seconds)))
    for duration in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + duration)
    return max(free)
