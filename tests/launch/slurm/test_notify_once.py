"""The last job of a submission notifies once, and again if it was killed meanwhile."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nllgen.launch.lease import LeaseManager
from nllgen.launch.slurm import notify_once
from nllgen.launch.slurm.arrays import Submission, SubmissionDir
from nllgen.launch.slurm.finalize import Finalizer
from nllgen.storage.study_dir import StudyDir


class Killed(BaseException):
    """A signal that ends the job."""


@pytest.fixture
def last_job(folder: StudyDir, monkeypatch: pytest.MonkeyPatch) -> Finalizer:
    """Return the last job of a submission that has nothing left to do but to notify."""
    where = SubmissionDir(folder.submitit / "one")
    where.path.mkdir(parents=True)
    where.write(Submission("one", (), options={"notify": "true"}))
    monkeypatch.setattr(Finalizer, "_resend", lambda *_: 0)
    monkeypatch.setattr(Finalizer, "_collect", lambda *_: 0)
    monkeypatch.setattr(notify_once, "_POLL_S", 0.01)
    return Finalizer(folder.path, "one")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the commands that were run."""
    commands: list[str] = []

    def tell(_: StudyDir, command: str) -> None:
        time.sleep(0.2)
        commands.append(command)

    monkeypatch.setattr(notify_once, "notify_here", tell)
    return commands


def test_a_job_that_is_started_again_tells_once(last_job: Finalizer, told: list[str]) -> None:
    assert (last_job(), last_job()) == ("collected", "collected")
    assert told == ["true"]


def test_two_jobs_at_the_same_time_tell_once(last_job: Finalizer, folder: StudyDir, told: list[str]) -> None:
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(notify_once.notify_once, folder, last_job.submission, "true") for _ in range(2)]
    assert [job.result() for job in jobs] == [None, None]
    assert told == ["true"]


def test_a_job_that_was_killed_while_it_told_tells_when_it_is_requeued(
    last_job: Finalizer, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(notify_once, "notify_here", die)
        with pytest.raises(Killed):
            last_job()
    last_job()
    assert told == ["true"]


def test_a_requeued_job_does_not_wait_for_the_lease_of_its_earlier_start(
    last_job: Finalizer, folder: StudyDir, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LeaseManager(job="7", restarts=0).take(folder.submitit / "one" / "notifying")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    last_job()
    assert told == ["true"]


def test_a_folder_that_cannot_be_written_keeps_nobody_from_being_told(folder: StudyDir, told: list[str]) -> None:
    folder.submitit.mkdir()
    Path(folder.submitit / "one").write_text("no folder")
    notify_once.notify_once(folder, "one", "true")
    assert told == ["true"]
