"""From a study folder to one study.h5, with proof that it is complete or the names of its holes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nllgen.errors import CorruptFileError, IncompleteError, MachineError, SchemaError
from nllgen.storage.dataset import NUMBERS, read_dataset
from nllgen.storage.extra_metrics import with_extra_metrics
from nllgen.storage.hdf5 import Array, Table
from nllgen.storage.result import Result, read_result
from nllgen.storage.schema import CELL_NUMBER_COLUMNS, CELL_TEXT_COLUMNS, INTEGER_COLUMNS, TEXT_COLUMNS
from nllgen.storage.states import Expected, ResultState, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.study_file import LONG_TABLES, StudyFile, write_study
from nllgen.storage.tasks import Task, TaskKind, tasks_of
from nllgen.study.config import Cell, Study

_NUM_REFERENCE = 64
_MAX_NAMED = 20
_MANY = 500  # results: reading fewer takes no longer than starting processes
_MOST_PROCESSES = 8
_DAMAGED = (CorruptFileError, SchemaError)  # what a machine could not read may be whole


@dataclass(frozen=True)
class Collected:
    """What was collected.

    Attributes:
        path: study.h5.
        num_done, num_diverged: cells with a result, the truth not counted.
        holes: "id: why" of each cell without one, or with a file of further metrics that is not its own or damaged.
    """

    path: Path
    num_done: int
    num_diverged: int
    holes: list[str]


def collect(study_dir: StudyDir, out: Path, *, allow_missing: bool = False, reference: dict[str, Array]) -> Collected:
    """Write study.h5 from every result of a study.

    Args:
        study_dir: its folder.
        out: the file to write.
        allow_missing: write it with the holes marked instead of refusing.
        reference: pictures of real data to go with it (``mnist``: (n, C, H, W) pixels in [0, 1]).

    Raises:
        IncompleteError: some cells have no valid result; names them.
        MachineError: a result cannot be read here, which says nothing about it; or out cannot be written.
    """
    study = study_dir.read_study()
    tasks, expected = tasks_of(study, study_dir), Expected.of(study, study_dir)
    runs = [task for task in tasks if task.kind is not TaskKind.DATASET]
    cells = [task.cell for task in runs]
    results, holes = _read_all(runs, expected)
    drawn_from = [task for task in tasks if task.kind is TaskKind.DATASET]
    missing = [why for task in drawn_from if (why := _why_not(task, expected))]
    holes += [f"dataset.h5: {why}" for why in missing]
    datasets, drawn = ({}, {}) if missing or study.truth is None else _datasets(study_dir, study.truth)
    if holes and not allow_missing:
        shown = "\n  ".join(holes[:_MAX_NAMED])
        more = f"\n  and {len(holes) - _MAX_NAMED} more" if len(holes) > _MAX_NAMED else ""
        raise IncompleteError(
            f"{len(holes)} of {len(cells) + study.needs_dataset} runs have no result:\n  {shown}{more}",
            "submit the grid again to run them, or collect with --allow-missing",
        )
    write_study(out, _study_file(study, cells, results, datasets, reference | drawn))
    outcomes = [result.attrs["outcome"] for result in results[len(cells) - len(study.cells) :] if result]
    return Collected(out, outcomes.count("done"), outcomes.count("diverged"), holes)


def _read_all(tasks: list[Task], expected: Expected) -> tuple[list[Result | None], list[str]]:
    """Return the result of each task, None where there is none that counts, and why not."""
    read = _map(_read_one, tasks, [expected] * len(tasks))
    holes = [f"{task.cell.id} ({task.cell.label}): {why}" for task, (_, why) in zip(tasks, read, strict=True) if why]
    return [result for result, _ in read], holes


def _map(
    function: Callable[[Task, Expected], tuple[Result | None, str]], tasks: list[Task], expected: list[Expected]
) -> list[tuple[Result | None, str]]:
    """Read in several processes where there are many results: libhdf5 reads one file at a time in a process."""
    allowed = os.environ.get("SLURM_CPUS_PER_TASK", "")  # not every cluster binds a job to what it asked for
    num_processes = min(len(os.sched_getaffinity(0)), int(allowed) if allowed.isdecimal() else _MOST_PROCESSES)
    if num_processes <= 1 or len(tasks) < _MANY:
        return list(map(function, tasks, expected))
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(num_processes, _MOST_PROCESSES), context, _end_with, (os.getpid(),)) as pool:
            return list(pool.map(function, tasks, expected, chunksize=100))
    except BrokenProcessPool as error:
        raise MachineError(
            "a process that read results was killed", "give it more memory, then collect again; nothing was changed"
        ) from error


def _end_with(parent: int) -> None:
    """In a process of the pool: Ctrl-C is its parent's to hear, and without its parent it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _read_one(task: Task, expected: Expected) -> tuple[Result | None, str]:
    if why := _why_not(task, expected):
        return None, why
    try:
        result = read_result(task.task_dir.result)
    except _DAMAGED as error:
        return None, error.message
    try:
        return with_extra_metrics(result, task.task_dir.all_extra_metrics()), ""
    except _DAMAGED as error:  # the run's own metrics are whole
        return result, error.message


def _why_not(task: Task, expected: Expected) -> str:
    """Return why a task has no result that counts; empty where it has one.

    Raises:
        MachineError: it cannot be read now.
    """
    try:
        files = inspect(task, expected)
    except SchemaError as error:
        return error.message
    if files.state is ResultState.LOCKED:
        raise MachineError(files.detail, "nothing was changed; collect again when it can be read")
    if files.state.is_done:
        return ""
    is_unfinished = files.state is ResultState.PARTIAL and task.kind is TaskKind.CELL
    return "no result" if is_unfinished or not files.detail else files.detail


def _datasets(study_dir: StudyDir, truth: Cell) -> tuple[dict[str, dict[str, Any]], dict[str, Array]]:
    """Return the attributes of the truth's data set and a few of its images as pixels; empty without one."""
    try:
        dataset = read_dataset(study_dir.dataset(truth.id), train_rows=slice(0, 0))
    except _DAMAGED:
        return {}, {}
    about = {
        "truth_id": dataset.truth_id,
        "truth_sha256": dataset.truth_sha256,
        **{name: dataset.numbers[name] for name in NUMBERS},
        "num_val": dataset.sizes()["val"],
        "num_test": dataset.sizes()["test"],
    }
    logits = dataset.x["test"][:_NUM_REFERENCE].astype(np.float64)
    alpha = truth.data.alpha
    pixels = np.clip((1 / (1 + np.exp(-logits)) - alpha) / (1 - 2 * alpha), 0, 1)
    return {dataset.truth_id: about}, {"truth": pixels}


def _study_file(
    study: Study,
    cells: list[Cell],
    results: list[Result | None],
    datasets: dict[str, dict[str, Any]],
    reference: dict[str, Array],
) -> StudyFile:
    tables = {name: _long(results, name) for name in LONG_TABLES}
    sampled = [(i, result.samples) for i, result in enumerate(results) if result is not None and len(result.samples)]
    shape = cells[0].data.shape
    return StudyFile(
        name=study.name,
        study=study.model_dump(mode="json", exclude={"cells"}),
        cells=_cells(study, cells, results),
        samples=np.concatenate([np.zeros((0, *shape), np.float32), *(x for _, x in sampled)]),
        samples_cell=np.repeat([i for i, _ in sampled], [len(x) for _, x in sampled]).astype(np.int64),
        reference=reference,
        datasets=datasets,
        **tables,
    )


def _cells(study: Study, cells: list[Cell], results: list[Result | None]) -> Table:
    rows: list[dict[str, Any]] = []
    for cell, result in zip(cells, results, strict=True):
        row: dict[str, Any] = dict(result.attrs) if result else {"outcome": "missing", "precision": cell.precision}
        row |= {"id": cell.id, "config": cell.model_dump_json(), "role": "truth" if cell is study.truth else "cell"}
        rows.append(row)
    texts = {name: np.array([str(row.get(name, "")) for row in rows]) for name in CELL_TEXT_COLUMNS}
    numbers = {name: np.array([float(row.get(name, np.nan)) for row in rows]) for name in CELL_NUMBER_COLUMNS}
    return texts | numbers


def _long(results: list[Result | None], name: str) -> Table:
    """One table of all cells, with the column ``cell``; a column that some lack is NaN there."""
    present = [(i, getattr(result, name)) for i, result in enumerate(results) if result is not None]
    lengths = [len(table["step"]) for _, table in present]
    long: Table = {"cell": np.repeat([i for i, _ in present], lengths).astype(np.int64)}
    for column in LONG_TABLES[name]:
        if not any(column in table for _, table in present):
            continue
        long[column] = np.concatenate(
            [_or_nan(table, column, n) for (_, table), n in zip(present, lengths, strict=True)]
        )
    for column in INTEGER_COLUMNS | (TEXT_COLUMNS if name != "history" else frozenset()):
        long.setdefault(column, np.empty(0, np.int64 if column in INTEGER_COLUMNS else str))
    return long


def _or_nan(table: Table, column: str, n: int) -> Array:
    return table[column] if column in table else np.full(n, np.nan)
