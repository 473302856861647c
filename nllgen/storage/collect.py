"""Collect a study folder into one study.h5, with proof that it is complete or the names of its holes.

A second collection reads the results that are new or changed, and takes the rest from the study.h5 that is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nllgen.errors import CorruptFileError, IncompleteError, MachineError, NllgenError, SchemaError
from nllgen.storage.checksum import verify_checksum
from nllgen.storage.collect_part import Part, empty_part, join_parts, part_of_study, read_parts
from nllgen.storage.dataset import NUMBERS, read_dataset
from nllgen.storage.hdf5_data import Array
from nllgen.storage.schema import CELL_NUMBER_COLUMNS, CELL_TEXT_COLUMNS
from nllgen.storage.states import Expected, ResultState, TaskFiles, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.study_file import StudyFile, read_study, write_study
from nllgen.storage.tables import Table
from nllgen.storage.tasks import Task, TaskKind, tasks_of
from nllgen.storage.visibility import is_there
from nllgen.study.config import Cell, Study

_NUM_REFERENCE = 64
_MAX_NAMED = 20
_DAMAGED = (CorruptFileError, SchemaError)  # a file that this machine cannot read now may be whole


@dataclass(frozen=True)
class Collected:
    """The outcome of a collection.

    Attributes:
        path: study.h5.
        num_cells: cells of the study, the truth not counted.
        num_done, num_diverged: those with a result.
        holes: "id: why" of each cell without a result, or with a damaged file of extra metrics.
        num_read: results that were read now; the others were in the study.h5 that was there.
        weightless: names of the runs whose numbers were collected and whose weights are gone.
    """

    path: Path
    num_cells: int
    num_done: int
    num_diverged: int
    holes: list[str]
    num_read: int = 0
    weightless: tuple[str, ...] = ()

    @property
    def num_with_result(self) -> int:
        """Return the number of cells with a result, diverged ones included."""
        return self.num_done + self.num_diverged

    @property
    def share_text(self) -> str:
        """Return for example ``3 of 4 cells have a result``."""
        return share_text(self.num_with_result, self.num_cells)


def share_text(num_with_result: int, num_cells: int) -> str:
    """Return for example ``3 of 4 cells have a result``."""
    return f"{num_with_result} of {num_cells} cells have a result"


@dataclass(frozen=True)
class _Gathered:
    """All results of a study as they are now, with what is missing, as in :class:`Collected`."""

    study: Study
    runs: list[Task]
    file: StudyFile
    holes: list[str]
    num_read: int
    weightless: tuple[str, ...]

    @property
    def outcomes(self) -> list[str]:
        """Return the outcome of each cell, without the truth's."""
        return list(self.file.cells["outcome"][len(self.runs) - len(self.study.cells) :])


def collect(
    study_dir: StudyDir,
    out: Path,
    *,
    allow_missing: bool = False,
    reference: dict[str, Array],
    progress: Callable[[int, int], None] | None = None,
) -> Collected:
    """Write study.h5 from every result of a study.

    Args:
        study_dir: its folder.
        out: the file to write.
        allow_missing: write it with the holes marked instead of refusing.
        reference: pictures of real data to go with it (``mnist``, for example: (n, C, H, W) pixels in [0, 1]).
        progress: is told how many of how many results were read.

    Raises:
        IncompleteError: some cells have no valid result; it names them.
        MachineError: a result cannot be read now, which says nothing about it; or out cannot be written.
    """
    gathered = _gather(study_dir, out, reference, progress)
    holes, num_cells = gathered.holes, len(gathered.study.cells)
    num_done, num_diverged = (gathered.outcomes.count(outcome) for outcome in ("done", "diverged"))
    if holes and not allow_missing:
        num_runs = len(gathered.runs) + gathered.study.needs_dataset
        raise _incomplete(holes, num_runs, share_text(num_done + num_diverged, num_cells))
    write_study(out, gathered.file)
    return Collected(out, num_cells, num_done, num_diverged, holes, gathered.num_read, gathered.weightless)


def read_results(study_dir: StudyDir) -> StudyFile:
    """Read every result that a study has now, and write nothing; cells without one have the outcome ``missing``.

    Raises:
        ConfigError: nothing was submitted there.
        MachineError: a result cannot be read now.
    """
    return _gather(study_dir, study_dir.collected, {}).file


def _gather(
    study_dir: StudyDir,
    known: Path,
    reference: dict[str, Array],
    progress: Callable[[int, int], None] | None = None,
) -> _Gathered:
    """Read the results that a study has, those that are in ``known`` already from there."""
    study = study_dir.read_study()
    tasks, expected = tasks_of(study, study_dir), Expected.of(study, study_dir)
    runs = [task for task in tasks if task.kind is not TaskKind.DATASET]
    files = [_inspect(task, expected) for task in runs]
    holes = {row: why for row, task in enumerate(runs) if (why := _why_not(task, files[row]))}
    sources = ["" if row in holes else _source(task) for row, task in enumerate(runs)]
    part, num_read = _read_all(known, study.name, runs, sources, holes, progress)
    datasets, pictures, lost = _read_datasets(study_dir, study, tasks, expected)
    named = [f"{runs[row].cell.id} ({runs[row].cell.label}): {why}" for row, why in sorted(holes.items())] + lost
    read = _study_file(study, runs, part, sources, datasets, reference | pictures)
    weightless = tuple(runs[row].name for row, file in enumerate(files) if file.state is ResultState.WEIGHTLESS)
    return _Gathered(study, runs, read, named, num_read, weightless)


def _incomplete(holes: list[str], num_runs: int, share: str) -> IncompleteError:
    shown = "\n  ".join(holes[:_MAX_NAMED])
    more = f"\n  and {len(holes) - _MAX_NAMED} more" if len(holes) > _MAX_NAMED else ""
    mend = "; nllgen check STUDY --repair moves wrong metrics aside" * any("/metrics." in hole for hole in holes)
    return IncompleteError(
        f"{len(holes)} of {num_runs} runs have no result:\n  {shown}{more}",
        f"{share}; submit the grid again to run the others, or collect with --allow-missing{mend}",
    )


def _inspect(task: Task, expected: Expected) -> TaskFiles:
    """Judge the files of a task; those of another schema do not count.

    Raises:
        MachineError: they cannot be read now.
    """
    try:
        files = inspect(task, expected)
    except SchemaError as error:
        return TaskFiles(ResultState.DAMAGED, error.message)
    if files.state is ResultState.LOCKED:
        raise MachineError(files.detail, "nothing was changed; collect again when it can be read")
    return files


def _why_not(task: Task, files: TaskFiles) -> str:
    """Return why a task has no result that counts; empty where it has one."""
    if files.state.is_done:
        return ""
    is_unfinished = files.state is ResultState.PARTIAL and task.kind is TaskKind.CELL
    return "no result" if is_unfinished or not files.detail else files.detail


def _source(task: Task) -> str:
    """Return a digest of all that a cell's rows are read from; empty where a file is damaged."""
    digest = hashlib.sha256()
    for path in (task.task_dir.result, *task.task_dir.all_extra_metrics()):
        try:
            digest.update(f"{path.name} {verify_checksum(path).sha256}\n".encode())
        except CorruptFileError:
            return ""
    return digest.hexdigest()


def _read_all(
    out: Path,
    name: str,
    runs: Sequence[Task],
    sources: list[str],
    holes: dict[int, str],
    progress: Callable[[int, int], None] | None,
) -> tuple[Part, int]:
    """Read the results that ``out`` does not have as they are; damaged ones are added to ``holes``.

    Returns:
        The rows of all results, and how many results were read.
    """
    known = _collected_before(out, name)
    old_rows = {cell_id: row for row, cell_id in enumerate(known.cells["id"])} if known else {}
    kept: dict[int, int] = {}
    for row, task in enumerate(runs):
        old = old_rows.get(task.cell.id)
        if known and old is not None and sources[row] and known.sources[old] == sources[row]:
            kept[old] = row
    reused = set(kept.values())
    wanted = [(row, runs[row].task_dir) for row in range(len(runs)) if row not in holes and row not in reused]
    parts = read_parts(wanted, progress)
    before = part_of_study(known, kept) if known and kept else empty_part()
    part = join_parts([before, *parts])
    for row, why in part.holes.items():
        holes[row] = why
        sources[row] = ""
    return part, len(wanted)


def _collected_before(out: Path, name: str) -> StudyFile | None:
    """Return the study.h5 that is there, where it can be trusted to be this study's."""
    try:
        known = read_study(out)
    except NllgenError:
        return None
    return known if known.name == name and len(known.sources) == len(known.cells["id"]) else None


def _read_datasets(
    study_dir: StudyDir, study: Study, tasks: Sequence[Task], expected: Expected
) -> tuple[dict[str, dict[str, Any]], dict[str, Array], list[str]]:
    """Return the attributes of the truth's data set, a few of its images as pixels, and why it is not there."""
    drawn = [task for task in tasks if task.kind is TaskKind.DATASET]
    lost = [f"dataset.h5: {why}" for task in drawn if (why := _why_not(task, _inspect(task, expected)))]
    if lost or study.truth is None or not is_there(study_dir.dataset(study.truth.id)):
        return {}, {}, lost
    try:
        dataset = read_dataset(study_dir.dataset(study.truth.id), train_rows=slice(0, 0))
    except _DAMAGED as error:
        return {}, {}, [f"dataset.h5: {error.message}"] * study.needs_dataset
    attributes = {
        "truth_id": dataset.truth_id,
        "truth_sha256": dataset.truth_sha256,
        **{name: dataset.numbers[name] for name in NUMBERS},
        "num_val": dataset.sizes()["val"],
        "num_test": dataset.sizes()["test"],
    }
    return {dataset.truth_id: attributes}, {"truth": _pixels(dataset.x["test"][:_NUM_REFERENCE], study.truth)}, []


def _pixels(logits: Array, truth: Cell) -> Array:
    alpha = truth.data.alpha
    return np.asarray(np.clip((1 / (1 + np.exp(-logits.astype(np.float64))) - alpha) / (1 - 2 * alpha), 0, 1))


def _study_file(
    study: Study,
    runs: Sequence[Task],
    part: Part,
    sources: list[str],
    datasets: dict[str, dict[str, Any]],
    reference: dict[str, Array],
) -> StudyFile:
    shape = runs[0].cell.data.shape
    return StudyFile(
        name=study.name,
        study=study.model_dump(mode="json", exclude={"cells"}),
        cells=_cells(runs, part),
        samples=part.samples if len(part.samples) else np.zeros((0, *shape), np.float32),
        samples_cell=part.samples_cell,
        reference=reference,
        datasets=datasets,
        sources=tuple(sources),
        **part.tables,
    )


def _cells(runs: Sequence[Task], part: Part) -> Table:
    """Return one row a run, in the study's order; one without a result has the outcome ``missing``."""
    rows: list[dict[str, Any]] = []
    for row, task in enumerate(runs):
        attrs = part.attrs.get(row) or {"outcome": "missing", "precision": task.cell.precision}
        role = "truth" if task.kind is TaskKind.TRUTH else "cell"
        rows.append({**attrs, "id": task.cell.id, "config": task.cell.model_dump_json(), "role": role})
    cells: Table = {}
    for name in CELL_TEXT_COLUMNS:
        cells[name] = np.array([None, *(str(row.get(name, "")) for row in rows)], dtype=object)[1:]
    for name in CELL_NUMBER_COLUMNS:
        cells[name] = np.array([float(row.get(name, np.nan)) for row in rows])
    return cells
