"""Measure further groups of metrics on finished cells, from the weights that they kept. Nothing is trained."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from nllgen.errors import CorruptFileError, NllgenError, StoppedError
from nllgen.metrics.measurement import Row
from nllgen.metrics.registry import GROUPS
from nllgen.models import make_model
from nllgen.storage.extra_metrics import ExtraMetrics, read_extra_metrics, write_extra_metrics
from nllgen.storage.provenance import code_sha256, nllgen_version
from nllgen.storage.result import Result, read_result
from nllgen.storage.schema import FINAL_COLUMNS
from nllgen.storage.states import Expected, ResultState, inspect
from nllgen.storage.study_dir import StudyDir, TaskDir
from nllgen.storage.tables import make_table
from nllgen.storage.tasks import Task, TaskKind, tasks_of
from nllgen.storage.visibility import is_there
from nllgen.study.config import Cell, Study
from nllgen.study.metric_groups import EXTRACTORS
from nllgen.worker.run_task import exact_arithmetic, prepare_run, truth_of
from nllgen.worker.settings import Settings, echo, move_aside
from nllgen.worker.train_cell import CellRun, Weights, asset_digests, device_name, load_model


@dataclass
class Evaluated:
    """Outcomes of an evaluation, counted by cell and group.

    Attributes:
        measured: files of extra metrics that were written.
        there: measured before, by the run or by an earlier evaluation.
        unmeasurable: cells that lack something a group needs, such as a density.
        unfinished: cells without a result.
        failed: "id (label): reason" of cells that could not be measured.
    """

    measured: int = 0
    there: int = 0
    unmeasurable: int = 0
    unfinished: int = 0
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Finished:
    """A finished cell with its result, its kept weights, and what its run was measured with."""

    run: CellRun
    result: Result
    weights: Weights


def evaluate(study_dir: StudyDir, names: Sequence[str], cells: Sequence[Cell], settings: Settings) -> Evaluated:
    """Measure groups of metrics on those of the cells that are finished; what was measured before is skipped.

    A cell that cannot be measured (its weights are gone, or its truth was trained anew) does not stop the others.

    Raises:
        StoppedError: a stop was asked for; what was published stays.
    """
    exact_arithmetic()
    study_dir.guard()
    study, outcomes = study_dir.read_study(), Evaluated()
    tasks = {(task.kind, task.cell.id): task for task in tasks_of(study, study_dir)}
    with settings.display("measuring", len(cells)) as update:
        for num_done, cell in enumerate(cells):
            update(num_done, cell.label)
            task = tasks[TaskKind.TRUTH if cell == study.truth else TaskKind.CELL, cell.id]
            try:
                _evaluate_if_done(study_dir, study, task, names, settings, outcomes)
            except StoppedError:
                raise
            except NllgenError as error:
                echo(f"{cell.id}: {error}")
                outcomes.failed.append(f"{cell.id} ({cell.label}): {error.message}")
    return outcomes


def _evaluate_if_done(
    study_dir: StudyDir, study: Study, task: Task, names: Sequence[str], settings: Settings, outcomes: Evaluated
) -> None:
    files = inspect(task, Expected.of(study, study_dir))
    if files.state in (ResultState.MISSING, ResultState.PARTIAL):
        outcomes.unfinished += 1
        return
    if not files.state.is_done:
        raise CorruptFileError(files.detail, "submit the grid again: the cell runs anew")
    _evaluate_cell(study_dir, study, task, names, settings, outcomes)


def _evaluate_cell(
    study_dir: StudyDir, study: Study, task: Task, names: Sequence[str], settings: Settings, outcomes: Evaluated
) -> None:
    task_dir = task.task_dir
    result = read_result(task_dir.result)
    missing = [name for name in names if not _is_measured(task_dir.extra_metrics(name), result)]
    outcomes.there += len(names) - len(missing)
    if missing:
        finished = _load(study_dir, study, task.cell, task_dir, result, settings)
        for name in missing:
            _evaluate_group(finished, name, outcomes)


def _load(
    study_dir: StudyDir, study: Study, cell: Cell, task_dir: TaskDir, result: Result, settings: Settings
) -> _Finished:
    """Load what measures a finished cell.

    Raises:
        CorruptFileError: the weights are damaged.
    """
    weights = load_model(task_dir, cell)
    truth = truth_of(study_dir, study, cell, settings)
    return _Finished(prepare_run(study_dir, study, cell, task_dir, truth, settings), result, weights)


def _evaluate_group(finished: _Finished, name: str, outcomes: Evaluated) -> None:
    """Measure one group, unless the run measured it or the cell lacks something that it needs."""
    run = finished.run
    if _has_columns(finished.result, name, [each.name for each in run.evaluator.references.extractors]):
        outcomes.there += 1
        return
    with run.settings.stop.interruptible():
        rows = _rows(finished, name)
    if not any(rows.values()):
        needs = " and ".join(sorted(GROUPS[name].needs))
        echo(f"{run.cell.id}: {name} needs {needs}, which {run.cell.label} does not have")
        outcomes.unmeasurable += 1
        return
    path = run.task_dir.extra_metrics(name)
    published = write_extra_metrics(path, _extra_metrics(finished, name, rows))
    outcomes.measured += published
    outcomes.there += not published
    echo(f"{'published' if published else 'already there'}: {path}")


def _is_measured(path: Path, result: Result) -> bool:
    """Return whether valid extra metrics of this result exist; move others aside."""
    if not is_there(path):
        return False
    try:
        if read_extra_metrics(path).belongs_to(result.attrs):
            return True
        raise CorruptFileError(f"{path}: measured on other weights or another truth than result.h5")
    except CorruptFileError as error:
        move_aside(path, str(error), "measuring again")
        return False


def _has_columns(result: Result, name: str, extractors: list[str]) -> bool:
    """Return whether the run itself measured a group, with every extractor that this machine has."""
    names = _columns_of(name)
    parts = [[column for column in names if not column.endswith(EXTRACTORS)]]
    parts += [[column for column in names if column.endswith(extractor)] for extractor in extractors]
    measured = [
        any(np.isfinite(result.final[column]).any() for column in part if column in result.final)
        for part in parts
        if part
    ]
    return bool(measured) and all(measured)


def _columns_of(name: str) -> list[str]:
    """Return the columns of a group on the test split."""
    return [column.replace("val_", "test_") for column in GROUPS[name].columns]


def _rows(finished: _Finished, name: str) -> dict[str, Row]:
    """Measure a group on the test split; return its columns by weights, in the order of the result."""
    run = finished.run
    model = make_model(run.cell).to(run.settings.device)
    rows = {}
    for weights in map(str, finished.result.final["weights"]):
        started = time.perf_counter()
        model.load_state_dict(finished.weights[weights])
        row = run.evaluator.measure_groups(model, [name])
        rows[weights] = row | {"time_s": time.perf_counter() - started} if row else {}
    return rows


def _extra_metrics(finished: _Finished, name: str, rows: dict[str, Row]) -> ExtraMetrics:
    run, result = finished.run, finished.result
    attrs = {
        "group": name,
        "cell_id": run.cell.id,
        "model_sha256": result.attrs["model_sha256"],
        "truth_sha256": result.attrs["truth_sha256"],
        "code_sha256": code_sha256(),
        "version": nllgen_version(),
        "torch_version": str(torch.__version__),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "device": device_name(run.settings.device),
        "num_samples": str(run.evaluator.references.num_samples["test"]),
        "assets": json.dumps(asset_digests(run.evaluator)),
    }
    steps = {str(kind): int(step) for kind, step in zip(result.final["weights"], result.final["step"], strict=True)}
    table = [{"weights": weights, "step": steps[weights], **row} for weights, row in rows.items()]
    names = ("weights", "step", *_columns_of(name), "time_s")
    return ExtraMetrics(attrs, make_table(table, {column: FINAL_COLUMNS[column] for column in names}))
