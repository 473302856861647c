"""Full disks: each writer runs on a disk with 0, 1, 2, … free pages, until it succeeds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.dummy_worker import small_result
from nllgen.data.truth import load_tensors, load_truth, to_bytes, truth_bytes
from nllgen.errors import NllgenError
from nllgen.launch.attempt import Attempt, record_lost
from nllgen.launch.code_snapshot import snapshot
from nllgen.launch.lease import LeaseManager
from nllgen.launch.retry_policy import FailureKind
from nllgen.launch.slurm.arrays import Stage, Submission, SubmissionDir
from nllgen.launch.tasks import read_attempts
from nllgen.storage.atomic import create_bytes, make_folder, write_bytes
from nllgen.storage.collect import collect
from nllgen.storage.dataset import NUMBERS, Dataset, read_dataset, write_dataset
from nllgen.storage.result import read_result, write_result
from nllgen.storage.schema import SPLITS
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.study_file import read_study
from nllgen.storage.tasks import tasks_of
from nllgen.study.load import parse_study
from tests.faults.readers import make_flow_weights
from tests.faults.texts import GRID

PAGE = 4096
DISK_BYTES = 8 * 2**20
_STUDY = parse_study(GRID, "g.yaml", precision="fp32")
_CPU = torch.device("cpu")
Write = Callable[[StudyDir], object]


def _result(study_dir: StudyDir) -> object:
    cell = _STUDY.cells[0]
    task = study_dir.cell(cell.id)
    make_folder(task.path)
    result = small_result(cell)
    model = task.model(result.attrs["model_sha256"])
    write_result(task.result, result, "a", lambda: write_bytes(model, to_bytes({"a": torch.zeros(2000)})))
    read_result(task.result)
    return load_tensors(model)


def _dataset(study_dir: StudyDir) -> object:
    assert _STUDY.truth is not None
    path = study_dir.dataset(_STUDY.truth.id)
    make_folder(path.parent)
    x = {split: np.random.default_rng(0).normal(size=(40, 1, 7, 7)).astype(np.float32) for split in SPLITS}
    numbers, log_prob = dict.fromkeys(NUMBERS, 0.5), dict.fromkeys(SPLITS, np.zeros(40))
    write_dataset(path, Dataset("t", "s", x, log_prob, numbers))
    return read_dataset(path)


def _truth(study_dir: StudyDir) -> object:
    assert _STUDY.truth is not None
    path = study_dir.truth_weights(_STUDY.truth.id)
    make_folder(path.parent)
    create_bytes(path, truth_bytes(_STUDY.truth, make_flow_weights(_STUDY.truth)))
    return load_truth(path, _CPU)


def _checkpoint(study_dir: StudyDir) -> object:
    path = study_dir.cell(_STUDY.cells[0].id).checkpoint("a")
    make_folder(path.parent)
    write_bytes(path, to_bytes({"step": 3, "weights": torch.zeros(5000)}))
    return load_tensors(path)


def _attempt(study_dir: StudyDir) -> object:
    task = tasks_of(_STUDY, study_dir)[-1]
    lease = LeaseManager().take(task.lease)
    assert lease is not None
    attempt = Attempt.begin(task, lease, "s")
    attempt.end(1, FailureKind.CRASH, "x" * 150)
    record_lost(task, FailureKind.LOST, "")
    assert not task.lease.exists()
    lines = read_attempts(task.attempts)
    assert [line["event"] for line in lines[-2:]] == ["started", "failed"]
    return lines


def _submission(study_dir: StudyDir) -> object:
    path = SubmissionDir(study_dir.submitit / "x")
    make_folder(path.path)
    path.write(Submission("x", (Stage("cells0", tuple((cell.id,) for cell in _STUDY.cells * 40)),)))
    path.add_job("cells0", "7")
    return path.read()


def _frozen(study_dir: StudyDir) -> object:
    study_dir.freeze(_STUDY)
    return study_dir.read_study()


def _program(study_dir: StudyDir) -> object:
    return snapshot(study_dir)


def _collected(study_dir: StudyDir) -> object:
    """Collect a study without results."""
    study_dir.freeze(_STUDY)
    pictures = np.random.default_rng(0).random((400, 1, 7, 7))
    collect(study_dir, study_dir.path / "study.h5", allow_missing=True, reference={"mnist": pictures})
    return read_study(study_dir.path / "study.h5")


WRITERS: dict[str, Write] = {
    "a frozen study": _frozen,
    "the program's copy": _program,
    "a submission": _submission,
    "a lease and an attempt": _attempt,
    "a checkpoint": _checkpoint,
    "a result and its weights": _result,
    "a truth": _truth,
    "a data set": _dataset,
    "study.h5": _collected,
}


@contextlib.contextmanager
def free_pages(disk: Path, pages: int) -> Iterator[None]:
    """Fill a disk but for a number of pages; empty it again at the end."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - pages) * PAGE)
    try:
        yield
    finally:
        filler.unlink()


def fill_at_every_page(disk: Path, name: str, *, stride: int = 1) -> tuple[int, int]:
    """Run a writer on disks with more and more free pages until it succeeds, and each time once more on an empty disk.

    Args:
        disk: an empty file system of ``DISK_BYTES``.
        name: key of WRITERS.
        stride: pages between two runs.

    Returns:
        Numbers of failures and of successes. Each failure was an NllgenError that says that the disk is full, and left
        no half-written file.
    """
    failed = done = other = 0
    pages = 0
    while done < 2:
        root = disk / f"{name.replace(' ', '-')}-{pages}"
        root.mkdir()
        study_dir = StudyDir(root / "study")
        make_folder(study_dir.path)
        with free_pages(disk, pages):
            try:
                WRITERS[name](study_dir)
                done += 1
            except NllgenError as error:
                failed += "the disk is full" in str(error)
                other += "the disk is full" not in str(error)
        assert not other, "the error does not say that the disk is full"
        leftover = [path for path in root.rglob("*") if path.name.endswith((".part", ".stale", "lease"))]
        assert leftover == [], leftover
        WRITERS[name](study_dir)
        _remove(root)
        pages += stride
    return failed, done


def _remove(directory: Path) -> None:
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    directory.rmdir()
