"""A study whose tasks are done is not finished before study.h5 has them; files of other nodes may come late."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.launch.collection import collection_note, is_uncollected
from nllgen.launch.slurm.arrays import COLLECT, Stage, Submission, SubmissionDir
from nllgen.launch.slurm.job_env import Job
from nllgen.launch.status import status
from nllgen.launch.task_queue import TaskQueue
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import TaskKind, tasks_of
from nllgen.study.run_options import RunOptions


def note(study_dir: StudyDir) -> str:
    return collection_note(study_dir, status(study_dir, study_dir.read_study()), "")


@pytest.fixture
def done(mixed_study: StudyDir, copy_of: Callable[[StudyDir], StudyDir]) -> StudyDir:
    """Return a study whose tasks are done and which is not collected."""
    study_dir = copy_of(mixed_study)
    (study_dir.path / "study.h5").unlink(missing_ok=True)
    return study_dir


def test_a_missing_and_an_old_study_file_are_named_with_what_to_do(done: StudyDir) -> None:
    assert is_uncollected(done, done.read_study())
    assert note(done).startswith("all tasks have a result, and study.h5 is not there: nllgen collect")
    (done.path / "study.h5").touch()
    assert (note(done), is_uncollected(done, done.read_study())) == ("", False)
    os.utime(done.path / "study.h5", (1, 1))
    assert "study.h5 is older than some of them" in note(done)


def test_the_end_of_the_collection_is_named(done: StudyDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "sacct").write_text("#!/bin/sh\necho '9_0|TIMEOUT|0:0'\n")
    (programs / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    where = SubmissionDir(done.submitit / "abc")
    where.path.mkdir(parents=True)
    where.write(Submission("abc", (Stage("cells0", (("a",),)),)))
    where.add_job(COLLECT, "9")
    assert "(its collection: job 9_0 ended TIMEOUT)" in note(done)
    assert "submitting again sends the collection" in note(done)


def test_a_study_with_open_tasks_has_no_note(done: StudyDir) -> None:
    tasks_of(done.read_study(), done)[-1].task_dir.result.unlink()
    assert (note(done), is_uncollected(done, done.read_study())) == ("", False)


def test_a_data_set_that_appears_late_does_not_fail_what_needs_it(done: StudyDir) -> None:
    tasks = tasks_of(done.read_study(), done)
    cell = next(task for task in tasks if task.kind is TaskKind.CELL and task.needs)
    cell.task_dir.result.unlink()
    truth = next(task for task in tasks if task.kind is TaskKind.TRUTH)
    hidden = truth.task_dir.dataset.rename(done.path / "hidden")
    job = Job("7_0", 0, 0, float("inf"), 1, (0,), ())
    queue = TaskQueue(done, "s", job, [cell.name], WorkerConfig(RunOptions(done.path)), 60.0)
    assert queue.lease_next() is None
    timer = threading.Timer(0.7, lambda: hidden.rename(truth.task_dir.dataset) and None)
    timer.start()
    assert queue.needs_appear()
    timer.join()
    leased = queue.lease_next()
    assert leased is not None
    leased[1].release()
    assert not queue.needs_appear()
