"""A submitted study is followed to its end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import submitit

from nllgen.cli.progress import progress_line
from nllgen.errors import MachineError
from nllgen.launch import follow, watch
from nllgen.launch.freeze import freeze
from nllgen.launch.local import failure_of_supervisor
from nllgen.launch.slurm.live_jobs import LiveJobs
from nllgen.launch.status import TaskReport
from nllgen.launch.watch import work_done
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study


@pytest.fixture
def study_dir(tiny: Study, tmp_path: Path) -> StudyDir:
    return freeze(tiny, tmp_path)[0]


def test_a_scheduler_that_does_not_answer_is_waited_for(study_dir: StudyDir, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(
        [(LiveJobs({}, {}, ("7",)), ""), (None, "no answer"), (None, "no answer"), (LiveJobs({}, {}, ()), "")]
    )
    lines: list[str] = []
    monkeypatch.setattr(follow, "query_scheduler", lambda *_, **__: next(answers))
    monkeypatch.setattr(follow, "status", lambda *_: [])
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    follow.follow_cluster(study_dir, study_dir.read_study(), progress_line(lines.append))
    assert lines == ["no answer", "the scheduler answers again"]
    assert next(answers, None) is None


def test_a_submitted_study_shows_its_progress(study_dir: StudyDir, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([(LiveJobs({}, {}, ("7",)), ""), (LiveJobs({}, {}, ()), "")])
    lines: list[str] = []
    monkeypatch.setattr(follow, "query_scheduler", lambda *_, **__: next(answers))
    monkeypatch.setattr(follow, "status", lambda *_: [row("done"), row("running", 25, 100)])
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("nllgen.cli.progress._LOG_INTERVAL_S", 0.0)
    follow.follow_cluster(study_dir, study_dir.read_study(), progress_line(lines.append))
    assert any("1 of 2 runs done, about" in line for line in lines)


def test_watching_in_a_log_shows_the_progress(study_dir: StudyDir, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter(([row("running", 25, 100)], [row("done")]))
    lines: list[str] = []
    monkeypatch.setattr(watch, "query_status", lambda *_: (next(states), ""))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("nllgen.cli.progress._LOG_INTERVAL_S", 0.0)
    watch.watch_changes(study_dir, study_dir.read_study(), progress_line(lines.append))
    assert any("0 of 1 runs done, about" in line for line in lines)
    assert lines[-1] == "1 done"


def row(state: str, step: int = 0, steps: int = 0) -> TaskReport:
    return TaskReport("id", "label", TaskStatus(state), 1, "log", step=step, steps=steps)


def test_parts_of_runs_count() -> None:
    rows = [row("done"), row("diverged"), row("running", 25, 100), row("waiting")]
    num_done, num_tasks, share = work_done(rows)
    assert (num_done, num_tasks) == (2, 4)
    assert share == pytest.approx(2.25 / 4)


def test_no_tasks_are_no_share_of_anything() -> None:
    assert work_done([]) == (0, 0, 0.0)


# supervisors


def fail() -> None:
    raise MachineError("the disk is full", "free some space")


def die() -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def end() -> None:
    pass


@pytest.fixture
def jobs(tmp_path: Path) -> list[submitit.Job[None]]:
    """Jobs of submitit that have ended: well, with an exception, killed."""
    executor = submitit.LocalExecutor(folder=tmp_path / "submitit")
    executor.update_parameters(timeout_min=1)
    started: list[Any] = [executor.submit(work) for work in (end, fail, die)]
    give_up = time.monotonic() + 60
    while not all(job.done() for job in started):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    return started


def test_a_lost_supervisor_is_named_with_its_log(jobs: list[submitit.Job[None]]) -> None:
    assert failure_of_supervisor(jobs[0]) is None
    reasons = [
        f"a supervisor failed: nllgen.errors.MachineError: the disk is full: {jobs[1].paths.stderr}",
        f"a supervisor was killed: {jobs[2].paths.stderr}",
    ]
    assert [failure_of_supervisor(job) for job in jobs[1:]] == reasons
