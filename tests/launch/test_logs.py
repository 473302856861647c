"""Logs are read while they are written, and cannot steer a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.errors import ConfigError
from nllgen.launch.freeze import freeze
from nllgen.launch.retry_policy import STARTED
from nllgen.launch.slurm.arrays import Stage, Submission, SubmissionDir
from nllgen.launch.tasks import record
from nllgen.launch.watch import Follower, job_log
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.storage.untrusted import escape_controls
from nllgen.study.config import Study


@pytest.fixture
def folder(tiny: Study, tmp_path: Path) -> StudyDir:
    return freeze(tiny, tmp_path)[0]


@pytest.fixture
def task(tiny: Study, folder: StudyDir) -> Task:
    found = tasks_of(tiny, folder)[2]
    found.task_dir.path.mkdir(parents=True)
    return found


def test_a_follower_reads_only_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    follower = Follower(path)
    assert follower.read() == "one\n"
    with path.open("a") as file:
        file.write("two\n")
    assert (follower.read(), follower.read()) == ("two\n", "")


def test_a_half_written_character_is_read_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes("é".encode()[:1])
    follower = Follower(path)
    assert follower.read() == ""
    path.write_bytes("é".encode())
    assert follower.read() == "é"


def test_escape_sequences_are_shown_and_not_obeyed() -> None:
    shown = escape_controls("a\x1b]0;title\x07\x9b2J\tb\r\nc")
    assert shown == "a␛]0;title␇\ufffd2J\tb\nc"


def test_the_log_of_the_newest_attempts_job_is_found(folder: StudyDir, task: Task) -> None:
    path = folder.submitit / "abc" / "7_2_0_log.out"
    path.parent.mkdir(parents=True)
    path.touch()
    record(task.attempts, event=STARTED, job="3_0")
    record(task.attempts, event=STARTED, job="7_2")
    assert job_log(folder, task) == path


def test_a_task_that_no_job_ran_has_no_jobs_log(folder: StudyDir, task: Task) -> None:
    record(task.attempts, event=STARTED)
    with pytest.raises(ConfigError, match=r"(?s)not run by a job.*logs of local supervisors are in"):
        job_log(folder, task)


def test_a_task_on_a_cluster_that_has_not_begun_does_not_lead_to_local_supervisors(
    folder: StudyDir, task: Task
) -> None:
    submission_dir = SubmissionDir(folder.submitit / "abc")
    submission_dir.path.mkdir(parents=True)
    submission_dir.write(Submission("abc", (Stage("cells0", ((task.name,),)),)))
    with pytest.raises(
        ConfigError, match=r"(?s)has not been run.*no job has begun it yet; see: nllgen status"
    ) as caught:
        job_log(folder, task)
    assert "local" not in str(caught.value)
