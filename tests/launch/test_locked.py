"""A result that cannot be read now is neither made again nor retried, by whatever asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.errors import MachineError
from nllgen.launch.foreground import run_in_foreground
from nllgen.launch.freeze import freeze
from nllgen.launch.retry import select
from nllgen.launch.retry_policy import FAILED, STARTED
from nllgen.launch.slurm.finalize import tasks_to_resend
from nllgen.launch.slurm.job_env import Job
from nllgen.launch.status import TaskReport
from nllgen.launch.task_queue import TaskQueue
from nllgen.launch.tasks import record
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage import states
from nllgen.storage.states import Expected, TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study
from nllgen.study.run_options import RunOptions


@pytest.fixture
def study_dir(tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyDir:
    """Return a frozen study on a file server that has stopped to serve its results."""

    def refuse(path: Path) -> bool:
        raise MachineError(f"cannot read {path}: Stale file handle", "try again")

    monkeypatch.setattr(states, "is_there", refuse)
    return freeze(tiny, tmp_path)[0]


@pytest.fixture
def task(tiny: Study, study_dir: StudyDir) -> Task:
    """Return the cell that needs no other task; its last attempt failed and may be retried."""
    task = tasks_of(tiny, study_dir)[2]
    task.task_dir.path.mkdir(parents=True)
    for event in (STARTED, FAILED):
        record(task.attempts, event=event, attempt="a", submission="s", kind="node failure", exit_code=1)
    return task


def test_a_supervisor_neither_runs_it_nor_waits_for_it(study_dir: StudyDir, task: Task) -> None:
    job = Job("", 0, 0, float("inf"), 1, (0,), ())
    queue = TaskQueue(study_dir, "s", job, None, WorkerConfig(RunOptions(study_dir.path)), 60.0)
    assert (queue.lease_next(), queue.has_work, queue.should_wait) == (None, False, False)
    assert queue.failures()[task.name] == "its result cannot be read now"
    assert not task.lease.exists()


def test_neither_it_nor_what_needs_it_is_sent_again(tiny: Study, study_dir: StudyDir, task: Task) -> None:
    expected = Expected.of(tiny, study_dir)
    assert tasks_to_resend(study_dir, tiny, expected, "s", ()) == {}


def test_it_is_not_trained_in_the_foreground(
    tiny: Study, study_dir: StudyDir, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nllgen.launch.stop_signal.SIGNALS", ())
    with pytest.raises(MachineError, match="cannot be read now") as caught:
        run_in_foreground(tiny, study_dir.path.parent, task.name, 1, lambda *_: None, print)
    assert "Stale file handle" in str(caught.value.hint)


def test_it_is_not_retried(tiny: Study, study_dir: StudyDir, task: Task) -> None:
    report = TaskReport(task.name, task.label, TaskStatus.LOCKED, 1, "")
    selection = select([report], tasks_of(tiny, study_dir), [task.name], ())
    assert (selection.names, selection.refused) == ((), {task.name: "is locked"})
