"""The tasks of a study: its truth, its data set, its cells, and where each writes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from nllgen.storage.study_dir import StudyDir, TaskDir
from nllgen.study.config import Cell, Study


class TaskKind(StrEnum):
    """Kinds of tasks."""

    TRUTH = "truth"
    DATASET = "dataset"
    CELL = "cell"


@dataclass(frozen=True)
class Task:
    """One thing to run.

    Attributes:
        name: ``truth``, ``dataset`` or a cell's id.
        label: for people.
        task_dir: where it writes.
        kind: truth, data set or cell.
        cell: configuration of the training run; the truth's for its data set.
        needs: names of the tasks that must be complete before.
    """

    name: str
    label: str
    task_dir: TaskDir
    kind: TaskKind
    cell: Cell
    needs: tuple[str, ...] = ()

    @property
    def needs_truth(self) -> bool:
        """Return whether its numbers depend on the truth's weights."""
        is_cell = self.kind is TaskKind.CELL
        return is_cell and (self.cell.data.is_synthetic or self.cell.start == "truth")

    @property
    def published(self) -> Path:
        """Return the file that is there when it is done: dataset.h5 of a data set, result.h5 of any other task."""
        return self.task_dir.dataset if self.kind is TaskKind.DATASET else self.task_dir.result

    @property
    def lease(self) -> Path:
        """Return the file that names who works on it."""
        return self._own(self.task_dir.lease)

    @property
    def log(self) -> Path:
        """Return its log."""
        return self._own(self.task_dir.log)

    @property
    def attempts(self) -> Path:
        """Return its record of attempts."""
        return self._own(self.task_dir.attempts)

    @property
    def stop(self) -> Path:
        """Return the file that asks its worker to stop and others not to begin; a new submission removes it."""
        return self._own(self.task_dir.stop)

    def _own(self, path: Path) -> Path:
        """Return a file of this task: the data set shares the truth's folder."""
        return path.with_name(f"{path.stem}-dataset{path.suffix}") if self.kind is TaskKind.DATASET else path


def tasks_of(study: Study, study_dir: StudyDir) -> list[Task]:
    """Return every task, each after those that it needs."""
    tasks = []
    after_truth = ("truth",) if study.trains_truth else ()
    if study.truth is not None:
        directory = study_dir.truth(study.truth.id)
        if study.trains_truth:
            tasks.append(Task("truth", f"truth {study.truth.id}", directory, TaskKind.TRUTH, study.truth))
        if study.needs_dataset:
            label = "synthetic data set"
            tasks.append(Task("dataset", label, directory, TaskKind.DATASET, study.truth, after_truth))
    for cell in study.cells:
        needs = ("dataset",) if cell.data.is_synthetic else after_truth if cell.start == "truth" else ()
        tasks.append(Task(cell.id, cell.label, study_dir.cell(cell.id), TaskKind.CELL, cell, needs))
    return tasks
