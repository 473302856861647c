"""Prove all results of a study: each run's numbers, its weights, the truth, the data set, extra metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nllgen.errors import CorruptFileError, MachineError, SchemaError
from nllgen.storage.extra_metrics import read_extra_metrics
from nllgen.storage.result import Result, read_result
from nllgen.storage.states import OTHER_FROZEN, Expected, ResultState, has_other_weights, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, TaskKind, tasks_of
from nllgen.storage.visibility import is_there
from nllgen.storage.weights import weights_digest
from nllgen.study.config import Study


@dataclass(frozen=True)
class WrongFile:
    """A file that does not hold what it should.

    Attributes:
        task: that it belongs to.
        path: the file.
        reason: what is wrong, in words.
        runs_again: whether the task's numbers do not count, so that it has to run again.
    """

    task: Task
    path: Path
    reason: str
    runs_again: bool = True

    @property
    def counted(self) -> Path:
        """Return the file that must go so that the task runs again, or is measured again."""
        return self.task.published if self.runs_again else self.path

    @property
    def is_extra_metrics(self) -> bool:
        """Return whether it holds numbers that ``nllgen evaluate`` measures again; the run's own count."""
        return self.path.name.startswith("metrics.")


def check_results(study_dir: StudyDir, study: Study) -> Iterator[WrongFile]:
    """Find the files of a study that do not hold what they should.

    Raises:
        MachineError: a file cannot be read now.
    """
    expected = Expected.of(study, study_dir)
    for task in tasks_of(study, study_dir):
        yield from check_task(task, expected)


def check_task(task: Task, expected: Expected) -> Iterator[WrongFile]:
    """Find the files of a task that do not hold what they should; a task that is not done has none.

    Raises:
        MachineError: a file cannot be read now.
    """
    path = task.published
    files = inspect(task, expected)
    if files.state is ResultState.LOCKED:
        raise MachineError(files.detail, "nothing was changed; check again when it can be read")
    frozen = list(_check_frozen(task)) if task.kind is TaskKind.TRUTH else []
    yield from frozen
    if files.state in (ResultState.DAMAGED, ResultState.STALE) and files.detail not in [file.reason for file in frozen]:
        yield WrongFile(task, path, files.detail)
    elif task.kind is not TaskKind.DATASET and (files.state.is_done or (frozen and is_there(path))):
        try:
            result = read_result(path)
        except (CorruptFileError, SchemaError) as error:
            yield WrongFile(task, path, error.message)
            return
        yield from _check_weights(task, result)
        yield from _check_extra_metrics(task, result)


def _check_frozen(task: Task) -> Iterator[WrongFile]:
    """Find a truth.pt that is not what the truth's run left; the run itself counts, and freezes its weights again."""
    try:
        if has_other_weights(task.task_dir):
            yield WrongFile(task, task.task_dir.weights, OTHER_FROZEN.partition(" ")[2], runs_again=False)
    except CorruptFileError as error:
        yield WrongFile(task, task.task_dir.weights, error.message, runs_again=False)


def _check_weights(task: Task, result: Result) -> Iterator[WrongFile]:
    path = task.task_dir.model(result.attrs["model_sha256"])
    try:
        digest = weights_digest(path)
    except CorruptFileError as error:
        yield WrongFile(task, path, error.message)
        return
    if not digest:
        yield WrongFile(task, path, "is gone: the numbers count, but nothing more can be measured", runs_again=False)
    elif digest != result.attrs["model_sha256"]:
        yield WrongFile(task, path, "holds other weights than those that result.h5 was measured on")


def _check_extra_metrics(task: Task, result: Result) -> Iterator[WrongFile]:
    for path in task.task_dir.all_extra_metrics():
        try:
            belongs = read_extra_metrics(path).belongs_to(result.attrs)
        except (CorruptFileError, SchemaError) as error:
            yield WrongFile(task, path, error.message, runs_again=False)
            continue
        if not belongs:
            reason = "was measured on other weights or another truth than result.h5"
            yield WrongFile(task, path, reason, runs_again=False)
