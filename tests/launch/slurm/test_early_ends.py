"""A job that left no attempt is explained by Slurm's record, its supervisor's error and what it has printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.errors import MachineError
from nllgen.launch.retry import select
from nllgen.launch.retry_policy import FailureKind, exhausted_kind, retry_delay_s
from nllgen.launch.slurm.arrays import Stage, Submission, SubmissionDir
from nllgen.launch.slurm.early_ends import EarlyEnds, record_supervisor_error
from nllgen.launch.slurm.finalize import record_early_end, retry_factor
from nllgen.launch.slurm.job_script import ENDED_EARLY
from nllgen.launch.slurm.live_jobs import LiveJobs
from nllgen.launch.status import TaskReport, status
from nllgen.launch.tasks import read_attempts, record
from nllgen.launch.watch import job_log
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study

NOTHING_LIVE = LiveJobs({}, {}, ())


@pytest.fixture
def study_dir(tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyDir:
    """Return a study on a machine without a scheduler."""
    monkeypatch.setenv("PATH", str(tmp_path))
    study_dir = StudyDir(tmp_path / "tiny")
    study_dir.freeze(tiny)
    return study_dir


@pytest.fixture
def task(tiny: Study, study_dir: StudyDir) -> Task:
    return tasks_of(tiny, study_dir)[2]


def sent(study_dir: StudyDir, task: Task, job: str = "7", output: str | None = None, workers: int = 0) -> Path:
    """Record a job of the task; return the path of its output."""
    where = SubmissionDir(study_dir.submitit / f"s{job}")
    where.path.mkdir(parents=True)
    where.write(Submission(f"s{job}", (Stage("cells0", ((task.name,),), (), workers),), options={"under": "one"}))
    where.add_job("cells0", job)
    path = where.path / f"{job}_0_0_log.out"
    if output is not None:
        path.write_text(output)
    return path


def stand_in(tmp_path: Path, program: str, text: str) -> None:
    """Put a program on PATH that prints a text."""
    (tmp_path / program).write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n".replace("cat", "/bin/cat"))
    (tmp_path / program).chmod(0o755)


def report(study_dir: StudyDir, tiny: Study, task: Task, live: LiveJobs | None = NOTHING_LIVE) -> TaskReport:
    (row,) = [row for row in status(study_dir, tiny, live) if row.name == task.name]
    return row


def test_status_names_the_job_its_state_its_exit_code_and_its_last_lines(
    study_dir: StudyDir, tiny: Study, task: Task, tmp_path: Path
) -> None:
    sent(study_dir, task, output="one\ntwo\nthree\n\x1b[31mfour\n")
    stand_in(tmp_path, "sacct", "7_0|FAILED|3:0")
    row = report(study_dir, tiny, task)
    assert (row.status, row.kind) == (TaskStatus.FAILED, FailureKind.ENVIRONMENT)
    reason = "job 7_0 ended FAILED before its first attempt, exit code 3: two / three / ␛[31mfour"
    assert row.detail == f"environment: {reason}"
    assert select([row], [task], (), ()).names == (task.name,)


def test_without_accounting_the_controller_is_asked(
    study_dir: StudyDir, tiny: Study, task: Task, tmp_path: Path
) -> None:
    sent(study_dir, task)
    stand_in(tmp_path, "scontrol", "JobId=7 ArrayJobId=7 ArrayTaskId=0 JobState=FAILED ExitCode=9:0 Partition=a")
    assert "job 7_0 ended FAILED before its first attempt, exit code 9" in report(study_dir, tiny, task).detail


def test_where_nobody_remembers_the_job_its_output_tells(study_dir: StudyDir, tiny: Study, task: Task) -> None:
    sent(study_dir, task, output=f"{ENDED_EARLY}line 1\n")
    row = report(study_dir, tiny, task)
    assert (row.status, row.kind) == (TaskStatus.FAILED, FailureKind.ENVIRONMENT)
    assert row.detail.endswith("before its first attempt: nllgen: the job ended before its program began: line 1")


def test_nothing_is_concluded_without_an_answer_of_squeue(study_dir: StudyDir, tiny: Study, task: Task) -> None:
    sent(study_dir, task, output=ENDED_EARLY)
    assert report(study_dir, tiny, task, live=None).status is TaskStatus.WAITING


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("FAILED|1:0", FailureKind.ENVIRONMENT),
        ("FAILED|0:9", FailureKind.LOST),
        ("NODE_FAIL|0:0", FailureKind.NODE_FAILURE),
        ("OUT_OF_MEMORY|0:125", FailureKind.OUT_OF_MEMORY),
        ("TIMEOUT|0:0", FailureKind.TIMEOUT),
        ("COMPLETED|0:0", FailureKind.LOST),
        ("CANCELLED by 0|0:0", None),
        ("RUNNING|0:0", None),
        ("STAGE_OUT|0:0", None),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_the_state_decides_the_kind(
    study_dir: StudyDir, task: Task, tmp_path: Path, state: str, kind: FailureKind | None, workers: int
) -> None:
    sent(study_dir, task, workers=workers)
    stand_in(tmp_path, "sacct", f"7_0|{state}")
    end = EarlyEnds(study_dir).end_of(task)
    assert (end.kind if end else None, end.job if end else "7_0") == (kind, "7_0")


def test_it_is_recorded_once_and_not_sent_again(study_dir: StudyDir, task: Task, tmp_path: Path) -> None:
    sent(study_dir, task)
    stand_in(tmp_path, "sacct", "7_0|FAILED|1:0")
    assert [record_early_end(task, "one", EarlyEnds(study_dir, "one")) for _ in range(2)] == [True, False]
    assert retry_factor(task, "one", 1.0) == 0.0
    assert exhausted_kind(read_attempts(task.attempts), "one") is FailureKind.ENVIRONMENT


def test_an_error_of_the_supervisor_is_a_failure_of_its_own_kind_that_is_retried_once(
    study_dir: StudyDir, tiny: Study, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    factors = []
    for job in ("7", "8"):
        sent(study_dir, task, job)
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", job)
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
        record_supervisor_error(study_dir, MachineError("no such GPU", "buy one"))
        row = report(study_dir, tiny, task)
        assert (row.kind, row.detail) == (FailureKind.SUPERVISOR, f"supervisor: job {job}_0: no such GPU")
        assert record_early_end(task, "one", EarlyEnds(study_dir, "one"))
        factors.append(retry_factor(task, "one", 1.0))
    assert factors == [1.0, 0.0]


def test_an_end_replaces_the_failure_of_an_earlier_job_and_a_later_attempt_replaces_it(
    study_dir: StudyDir, tiny: Study, task: Task, tmp_path: Path
) -> None:
    stand_in(tmp_path, "sacct", "7_0|FAILED|1:0")
    task.task_dir.path.mkdir(parents=True)
    for event in ("started", "failed"):
        record(task.attempts, event=event, attempt="1-a", submission="zero", job="6_0", kind="crash")
    output = sent(study_dir, task, output="dies\n")
    assert "job 7_0" in report(study_dir, tiny, task).detail
    assert job_log(study_dir, task) == output
    for event in ("started", "failed"):
        record(task.attempts, event=event, attempt="2-b", submission="two", job="8_0", kind="config")
    record(task.attempts, event="failed", attempt="3-c", submission="local", kind="config")
    assert report(study_dir, tiny, task).kind is FailureKind.CONFIG


@pytest.fixture
def lines() -> Callable[..., list[dict[str, object]]]:
    """Return a function that makes attempts from their durations in seconds; None for one that never began."""

    def make(*durations_s: int | None) -> list[dict[str, object]]:
        made: list[dict[str, object]] = []
        for number, duration_s in enumerate(durations_s):
            attempt: dict[str, object] = {"attempt": str(number), "submission": "one"}
            if duration_s is not None:
                made.append({"event": "started", "at": "2026-07-01T12:00:00+00:00"} | attempt)
            at = f"2026-07-01T12:{(duration_s or 0) // 60:02}:{(duration_s or 0) % 60:02}+00:00"
            made.append({"event": "lost", "kind": "lost", "at": at} | attempt)
        return made

    return make


@pytest.mark.parametrize(
    ("durations_s", "delay_s"),
    [((), 0), ((3,), 0), ((3, 3), 60), ((3, None, 3), 120), ((3, 3, 600), 0), ((600, 3), 0), ((3,) * 12, 3600)],
)
def test_a_task_that_fails_within_seconds_twice_waits(
    lines: Callable[..., list[dict[str, object]]], durations_s: tuple[int | None, ...], delay_s: int
) -> None:
    assert retry_delay_s(lines(*durations_s), "one") == delay_s
    assert retry_delay_s(lines(*durations_s), "two") == 0
