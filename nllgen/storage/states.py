"""The states of results and tasks. Whether a result counts is decided by :func:`inspect` and nowhere else."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from nllgen.errors import CorruptFileError, MachineError, SchemaError
from nllgen.storage.atomic import raise_os_error
from nllgen.storage.checksum import verify_checksum
from nllgen.storage.head import read_head
from nllgen.storage.schema import SPLITS
from nllgen.storage.study_dir import StudyDir, TaskDir
from nllgen.storage.tasks import Task, TaskKind
from nllgen.storage.visibility import is_there
from nllgen.study.config import DatasetConfig, Study

_MAX_NAMED = 5
OTHER_FROZEN = "truth.pt holds other weights than the best of its run: they are frozen again"
_OTHER_TRUTH = "with another truth than the study's, whose weights have changed since"


class ResultState(StrEnum):
    """States of the files that a task leaves."""

    MISSING = "missing"  # nothing is there
    PARTIAL = "partial"  # a checkpoint, a truth that is not frozen yet, or a data set that is too small
    DAMAGED = "damaged"  # a file that cannot be what was written
    STALE = "stale"  # whole, but made with another truth, or in another container than is required
    LOCKED = "locked"  # in use, or not to be read now: nothing is known of it
    COMPLETE = "complete"
    DIVERGED = "diverged"  # complete: training ended with a non-finite loss, which is a result
    WEIGHTLESS = "weightless"  # its numbers count; the weights that they were measured on are gone

    @property
    def is_done(self) -> bool:
        """Return whether the task has a result that counts."""
        return self in (ResultState.COMPLETE, ResultState.DIVERGED, ResultState.WEIGHTLESS)

    @property
    def is_to_run(self) -> bool:
        """Return whether the task has to run, again or for the first time."""
        return not self.is_done and self is not ResultState.LOCKED


class TaskStatus(StrEnum):
    """States of a task as a user sees them."""

    DONE = "done"
    DIVERGED = "diverged"
    WEIGHTLESS = "weightless"
    DAMAGED = "damaged"
    STALE = "stale"
    VANISHED = "vanished"
    LOCKED = "locked"
    RUNNING = "running"
    QUEUED = "queued"
    FAILED = "failed"
    STOPPED = "stopped"
    WAITING = "waiting"


@dataclass(frozen=True)
class TaskFiles:
    """The files of a task, judged.

    Attributes:
        state: whether they count, and if not, why.
        detail: the reason in words, such as ``result of 2026-07-01 12:00`` or what is damaged.
        step: optimiser steps that are done; None where that is not known.
        seconds_per_step: as measured while training; None where it was not.
        container_sha256: digest of the container that made it, empty without one.
        finished_at: when the result was made, ISO 8601; empty without a result.
        attempts: number of attempts until the result; 0 without one.
        dead_step: step since which the generator's gradient was dead at the end of a game; None otherwise.
        device: ``cpu``, or the name of the GPU that made the result; empty where the file does not tell.
    """

    state: ResultState
    detail: str = ""
    step: int | None = None
    seconds_per_step: float | None = None
    container_sha256: str = ""
    finished_at: str = ""
    attempts: int = 0
    dead_step: int | None = None
    device: str = ""


@dataclass(frozen=True)
class Expected:
    """The conditions under which the results of a study count.

    Attributes:
        truth_sha256: digest of the truth's weights; empty where nobody knows it, and any is accepted.
        container_sha256: of the container that must have made a result; None accepts every one.
        dataset: sizes of the data set.
    """

    truth_sha256: str
    container_sha256: str | None
    dataset: DatasetConfig

    @classmethod
    def of(cls, study: Study, study_dir: StudyDir, container_sha256: str | None = None) -> Expected:
        """Return what counts now; the truth's weights are read once for each content of their file."""
        truth_sha256 = _truth_sha256(study_dir, study.truth.id) if study.truth else ""
        return cls(truth_sha256, container_sha256, study.dataset)


def weightless_note(names: Sequence[str], study: object) -> str:
    """Return the note for tasks whose weights are gone; empty for none. ``study`` is a name or a directory."""
    if not names:
        return ""
    more = ["…"] * (len(names) > _MAX_NAMED)
    return (
        f"{len(names)} without the weights that they were measured on: their numbers count, but nothing more can be "
        f"measured; to train again: nllgen retry {study} {' '.join([*names[:_MAX_NAMED], *more])}"
    )


def inspect(task: Task, expected: Expected) -> TaskFiles:
    """Judge the files of a task.

    Raises:
        SchemaError: a file was written with another schema.
    """
    try:
        if task.kind is TaskKind.DATASET:
            return _inspect_dataset(task.task_dir.dataset, expected)
        files = _inspect_run(task, expected)
        return _inspect_truth(files, task) if task.kind is TaskKind.TRUTH else files
    except CorruptFileError as error:
        return TaskFiles(ResultState.DAMAGED, error.message)
    except MachineError as error:
        return TaskFiles(ResultState.LOCKED, error.message)


def _truth_sha256(study_dir: StudyDir, truth_id: str) -> str:
    """Return the digest of the truth's weights: its run's, else the frozen ones', else those of the data set.

    A file that is damaged or cannot be read now leaves the question to the next one.
    """
    dataset = study_dir.dataset(truth_id)
    sources: tuple[Callable[[], str], ...] = (
        lambda: trained_sha256(study_dir.truth(truth_id)),
        lambda: _weights_digest(study_dir.truth_weights(truth_id)),
        lambda: _dataset_head(dataset, verify_checksum(dataset).identity)[1] if is_there(dataset) else "",
    )
    for digest_of in sources:
        with contextlib.suppress(CorruptFileError, MachineError):
            if digest := digest_of():
                return digest
    return ""


def trained_sha256(truth_dir: TaskDir) -> str:
    """Return the digest of the best weights of a truth's run, which truth.pt has to hold.

    Returns:
        64 hexadecimal digits; empty where no run proves them: a truth that ships, or a model that is gone or damaged.

    Raises:
        MachineError: a file cannot be read now.
    """
    from nllgen.storage.weights import weights_digest

    try:
        head = read_head(truth_dir.result)
        model = truth_dir.model(head["model_sha256"])
        is_proved = head["cell_id"] == truth_dir.path.name and weights_digest(model) == head["model_sha256"]
        return weights_digest(model, "best") if is_proved else ""
    except (CorruptFileError, SchemaError):
        return ""


def has_other_weights(truth_dir: TaskDir) -> bool:
    """Return whether truth.pt holds other weights than those that its run proves.

    Raises:
        CorruptFileError: truth.pt is damaged.
        MachineError: a file cannot be read now.
    """
    frozen = _weights_digest(truth_dir.weights)
    return bool(frozen) and trained_sha256(truth_dir) not in ("", frozen)


def _inspect_run(task: Task, expected: Expected) -> TaskFiles:
    """Judge result.h5, or else the checkpoints."""
    path = task.task_dir.result
    if not is_there(path):
        return _inspect_checkpoints(task)
    head = read_head(path)
    when, container = head["finished_at"], head["container_sha256"]
    if head["cell_id"] != task.cell.id:
        return TaskFiles(ResultState.DAMAGED, f"{path} is the result of {head['cell_id']}")
    if task.needs_truth and expected.truth_sha256 not in ("", head["truth_sha256"]):
        return TaskFiles(ResultState.STALE, f"result of {when}: made {_OTHER_TRUTH}")
    if expected.container_sha256 not in (None, container):
        made_in = f"container {container[:12]}" if container else "no container"
        return TaskFiles(ResultState.STALE, f"result of {when}: made in {made_in}")
    state = ResultState.DIVERGED if head["outcome"] == "diverged" else ResultState.COMPLETE
    detail = f"result of {when}"
    if lost := _lost_weights(task.task_dir, head["model_sha256"]):
        state, detail = ResultState.WEIGHTLESS, f"{detail}, whose weights are gone: {lost}"
    steps, seconds = task.cell.paradigm.steps, head["seconds_per_step"]
    dead_step = int(head["dead_step"]) if math.isfinite(head["dead_step"]) else None
    attempts, device = int(head["attempts"]), head["device"]
    return TaskFiles(state, detail, steps, seconds, container, when, attempts, dead_step, device)


def _lost_weights(task_dir: TaskDir, model_sha256: str) -> str:
    """Return in words which file of weights a result lacks; empty where a file of that name is there.

    The name holds the digest of the content, which ``nllgen check`` proves.

    Raises:
        MachineError: the directory cannot be read now.
    """
    path = task_dir.model(model_sha256)
    try:
        path.stat()
    except FileNotFoundError:
        others = sorted(other.name for other in path.parent.glob("model.*.pt"))
        return f"no {path.name}" + (f", but {others[0]} of another run" if others else "")
    except OSError as error:
        raise_os_error("read", path, error)
    return ""


def _inspect_checkpoints(task: Task) -> TaskFiles:
    if task.task_dir.checkpoints():
        return TaskFiles(ResultState.PARTIAL, f"checkpoint in {task.task_dir.path.name}")
    return TaskFiles(ResultState.MISSING)


def _inspect_truth(files: TaskFiles, task: Task) -> TaskFiles:
    """Judge a truth that was trained: it is complete when its weights are frozen, too."""
    if files.state.is_done and files.state is not ResultState.DIVERGED and not _weights_digest(task.task_dir.weights):
        return TaskFiles(ResultState.PARTIAL, "trained, its weights not yet frozen", files.step, files.seconds_per_step)
    if files.state.is_done and has_other_weights(task.task_dir):
        return TaskFiles(ResultState.PARTIAL, f"trained; {OTHER_FROZEN}", files.step, files.seconds_per_step)
    return files


def _weights_digest(path: Path) -> str:
    from nllgen.storage.weights import weights_digest  # imports zipfile and pickle

    return weights_digest(path) if is_there(path) else ""


def _inspect_dataset(path: Path, expected: Expected) -> TaskFiles:
    if not is_there(path):
        return TaskFiles(ResultState.MISSING, "not drawn yet")
    sizes, drawn_from = _dataset_head(path, verify_checksum(path).identity)
    if expected.truth_sha256 not in ("", drawn_from):
        return TaskFiles(ResultState.STALE, f"the data set was drawn {_OTHER_TRUTH.replace('with', 'from', 1)}")
    wanted = expected.dataset
    needed = {"train": wanted.num_train, "val": wanted.num_val, "test": wanted.num_test}
    if any(sizes[split] < needed[split] for split in SPLITS):
        return TaskFiles(ResultState.PARTIAL, "the data set is too small: it grows")
    return TaskFiles(ResultState.COMPLETE, "the data set is large enough")


@lru_cache(maxsize=256)
def _dataset_head(path: Path, identity: tuple[int, ...]) -> tuple[dict[str, int], str]:
    """Return the sizes of the splits and the digest of the truth; read once for each content."""
    from nllgen.storage.dataset import read_dataset_head  # imports h5py

    head = read_dataset_head(path)
    return head.sizes(), head.truth_sha256
