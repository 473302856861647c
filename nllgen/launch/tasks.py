"""The tasks of a study, their order, and the record of attempts on each of them."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nllgen.errors import CorruptFileError, NllgenError
from nllgen.planning.cost import cell_cost
from nllgen.storage.atomic import raise_os_error
from nllgen.storage.dataset import read_dataset_head
from nllgen.storage.result import read_head
from nllgen.storage.states import TaskKind
from nllgen.storage.study_dir import StudyDir, TaskDir
from nllgen.storage.untrusted import parse_untrusted_json, read_regular
from nllgen.study.config import DatasetConfig, Study


@dataclass(frozen=True)
class Task:
    """A truth, a data set or a cell.

    Attributes:
        name: ``truth``, ``dataset`` or a cell's id.
        label: description for people.
        task_dir: folder that it writes to.
        needs: names of the tasks that must be done before.
        suffix: distinguishes its lease, log and attempts from those of another task in the same folder.
    """

    name: str
    label: str
    task_dir: TaskDir
    needs: tuple[str, ...] = ()
    suffix: str = ""

    @property
    def kind(self) -> TaskKind:
        """Return the kind of task."""
        return TaskKind.CELL if self.name not in (TaskKind.TRUTH, TaskKind.DATASET) else TaskKind(self.name)

    @property
    def lease(self) -> Path:
        """Return the path of the lease file."""
        return self._with_suffix(self.task_dir.lease)

    @property
    def log(self) -> Path:
        """Return the path of the log."""
        return self._with_suffix(self.task_dir.log)

    @property
    def attempts(self) -> Path:
        """Return the path of the record of attempts."""
        return self._with_suffix(self.task_dir.attempts)

    @property
    def stop(self) -> Path:
        """Return the path of the stop file, which asks to stop the task and not to start it.

        A new submission removes it.
        """
        return self._with_suffix(self.task_dir.stop)

    def _with_suffix(self, path: Path) -> Path:
        return path.with_name(f"{path.stem}{self.suffix}{path.suffix}") if self.suffix else path


def tasks_of(study: Study, study_dir: StudyDir) -> list[Task]:
    """Return all tasks of a study, each after those that it needs."""
    tasks = []
    after_truth = ("truth",) if study.trains_truth else ()
    if study.truth is not None:
        truth_dir = study_dir.truth(study.truth.id)
        if study.trains_truth:
            tasks.append(Task("truth", f"truth {study.truth.id}", truth_dir))
        if study.needs_dataset:
            tasks.append(Task("dataset", "synthetic data set", truth_dir, after_truth, "-dataset"))
    for cell in study.cells:
        needs = ("dataset",) if cell.data.source == "synthetic" else after_truth if cell.start == "truth" else ()
        tasks.append(Task(cell.id, cell.label, study_dir.cell(cell.id), needs))
    return tasks


def longest_first(tasks: list[Task], study: Study) -> list[Task]:
    """Sort tasks: the truth and its data set first, then cells by falling cost, so that no long cell runs last."""
    seconds = seconds_of(study)
    return sorted(tasks, key=lambda task: -seconds.get(task.name, math.inf))


def seconds_of(study: Study) -> dict[str, float]:
    """Return cell id → seconds that a whole run takes on one core, estimated by :mod:`nllgen.planning.cost`."""
    return {cell.id: cell_cost(cell, study).seconds(cell.paradigm.steps) for cell in study.cells}


def is_done(
    task: Task, study: Study, study_dir: StudyDir, container_sha256: str | None = None, truth_sha256: str | None = None
) -> bool:
    """Whether the task's final files are there and whole; a damaged one is as good as none.

    Args:
        task: the task.
        study: its study.
        study_dir: the study's folder.
        container_sha256: a result counts only if this container made it; None takes every container's.
        truth_sha256: of the truth that the data set was drawn from, where the caller has looked.

    Raises:
        SchemaError: it was written with another schema.
        MachineError: it cannot be read, which says nothing about it.
    """
    return done_head(task, study, study_dir, container_sha256, truth_sha256) is not None


def done_head(
    task: Task, study: Study, study_dir: StudyDir, container_sha256: str | None = None, truth_sha256: str | None = None
) -> dict[str, Any] | None:
    """What stands at the head of a task's result, empty for a data set; None where the task is not done.

    Args, Raises: as :func:`is_done`.
    """
    if task.name == "truth":
        assert study.truth is not None
        has_weights = study_dir.truth_weights(study.truth.id).exists()
        return _head(task, study.truth.id, "", container_sha256) if has_weights else None
    if task.name == "dataset":
        assert study.truth is not None
        return {} if large_enough(study_dir.dataset(study.truth.id), study.dataset) else None
    if study.truth is None or "dataset" not in task.needs:
        truth_sha256 = ""
    elif truth_sha256 is None:
        truth_sha256 = study_dir.truth_sha256(study.truth.id)
    return _head(task, task.name, truth_sha256, container_sha256)


def _head(task: Task, cell_id: str, truth_sha256: str, container_sha256: str | None) -> dict[str, Any] | None:
    try:
        head = read_head(task.task_dir.result)
    except CorruptFileError:  # or not there
        return None
    if container_sha256 is not None and head["image_sha256"] != container_sha256:
        return None
    return head if head["cell_id"] == cell_id and truth_sha256 in ("", head["truth_sha256"]) else None


def large_enough(path: Path, wanted: DatasetConfig) -> bool:
    """Whether a data set is there and has the containers that a study wants."""
    if not path.exists():
        return False
    try:
        sizes = read_dataset_head(path).sizes()
    except NllgenError:
        return False
    needed = {"train": wanted.num_train, "val": wanted.num_val, "test": wanted.num_test}
    return all(sizes[split] >= count for split, count in needed.items())


def record(path: Path, **fields: Any) -> None:
    """Append a line to a task's attempts, in a single write so that lines of two writers do not mix.

    Raises:
        MachineError: the disk is full, or the folder is read-only or gone.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(path, flags, 0o644), "r+b", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            is_torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"  # or another writer is at work
            line = b"\n" * is_torn + json.dumps(fields).encode() + b"\n"
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise_os_error("write", path, error)


def read_attempts(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a task's attempts, without torn ones."""
    lines: list[dict[str, Any]] = []
    with contextlib.suppress(OSError):
        for line in read_regular(path).decode(errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                value = parse_untrusted_json(line)
                if isinstance(value, dict) and isinstance(value.get("attempt", ""), str):
                    lines.append(value)
    return lines
