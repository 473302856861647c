"""Tasks that were sent but never started are recorded as lost, once for each submission."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.launch.retry_policy import POLICIES, FailureKind
from nllgen.launch.slurm.arrays import Stage, Submission, SubmissionDir
from nllgen.launch.slurm.early_ends import EarlyEnds
from nllgen.launch.slurm.finalize import record_early_end, retry_factor
from nllgen.launch.tasks import read_attempts, record
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyDir:
    """Return a study folder on a machine without a scheduler."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return StudyDir(tmp_path / "tiny")


@pytest.fixture
def task(tiny: Study, folder: StudyDir) -> Task:
    return tasks_of(tiny, folder)[2]


def sent(folder: StudyDir, task: Task, number: int, *, under: str = "one", workers: int = 0) -> None:
    where = SubmissionDir(folder.submitit / f"s{number}")
    where.path.mkdir(parents=True)
    where.write(Submission(f"s{number}", (Stage("cells0", ((task.name,),), (), workers),), options={"under": under}))
    where.add_job("cells0", str(number))


def is_lost(folder: StudyDir, task: Task, under: str = "one") -> bool:
    return record_early_end(task, under, EarlyEnds(folder, under))


@pytest.mark.parametrize(("workers", "job"), [(0, "7_0"), (2, "7")])
def test_a_job_without_a_record_is_a_lost_attempt(folder: StudyDir, task: Task, workers: int, job: str) -> None:
    sent(folder, task, 7, workers=workers)
    assert (is_lost(folder, task), is_lost(folder, task)) == (True, False)
    (line,) = read_attempts(task.attempts)
    assert (line["event"], line["kind"], line["job"], line["submission"]) == ("lost", "lost", job, "one")


def test_a_lost_job_is_sent_again_as_often_as_its_policy_allows(folder: StudyDir, task: Task) -> None:
    found = []
    for number in range(6):
        sent(folder, task, number)
        assert is_lost(folder, task)
        found.append(retry_factor(task, "one", 2.0))
    retries = POLICIES[FailureKind.LOST].retries
    assert found == [2.0] * retries + [0.0] * (6 - retries)


def test_a_task_that_started_or_was_stopped_or_is_of_another_submission_is_not_lost(
    folder: StudyDir, task: Task
) -> None:
    sent(folder, task, 7)
    assert not is_lost(folder, task, under="two")
    task.task_dir.path.mkdir(parents=True)
    task.stop.touch()
    assert not is_lost(folder, task)
    task.stop.unlink()
    record(task.attempts, event="started", attempt="1-a", submission="one", job="7_0")
    assert not is_lost(folder, task)


def test_a_task_that_was_never_sent_is_not_lost(folder: StudyDir, task: Task) -> None:
    assert not is_lost(folder, task)


@pytest.mark.parametrize(("sacct", "lost"), [("exit 1", True), ("echo '7_1|COMPLETED'", False)])
def test_an_element_that_sacct_has_forgotten_was_cancelled(
    folder: StudyDir, task: Task, tmp_path: Path, sacct: str, lost: bool
) -> None:
    """Ask about an array of which the controller remembers only another element."""
    told = "echo JobId=8 ArrayJobId=7 ArrayTaskId=1 JobState=COMPLETED"
    for name, does in (("sacct", sacct), ("scontrol", told)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    sent(folder, task, 7)
    assert is_lost(folder, task) == lost
