"""The tasks that a supervisor leases, abandons, leaves to another job or waits for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from nllgen.launch.attempt import Attempt
from nllgen.launch.lease import LeaseManager
from nllgen.launch.retry_policy import FailureKind
from nllgen.launch.slurm.job_env import Job
from nllgen.launch.task_queue import TaskQueue
from nllgen.launch.tasks import read_attempts
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study
from nllgen.study.run_options import RunOptions


def job(number: str = "7_0", *, left_s: float = 36_000.0, restarts: int = 0) -> Job:
    return Job(number, 0, restarts, time.time() + left_s, 1, (0,), ())


@pytest.fixture
def folder(tiny: Study, tmp_path: Path) -> StudyDir:
    made = StudyDir(tmp_path / "tiny")
    made.freeze(tiny)
    return made


def queue_of(folder: StudyDir, the_job: Job, names: list[str] | None = None) -> TaskQueue:
    return TaskQueue(folder, "s", the_job, names, WorkerConfig(RunOptions(folder.path)), 60.0)


def real_cell(tiny: Study, folder: StudyDir) -> Task:
    """Return the cell that needs no other task."""
    return next(task for task in tasks_of(tiny, folder) if not task.needs and task.name != "truth")


def fail(taken: tuple[Task, Any] | None, the_job: Job, kind: FailureKind) -> None:
    assert taken is not None
    Attempt.begin(*taken, "s", job_facts=the_job.facts()).end(1, kind)


def test_only_tasks_whose_needs_are_done_are_leased(tiny: Study, folder: StudyDir) -> None:
    queue = queue_of(folder, job())
    taken = [found[0].name for _ in range(4) if (found := queue.lease_next())]
    assert taken == ["truth", real_cell(tiny, folder).name]


def test_a_crash_is_retried_once_and_then_a_failure(tiny: Study, folder: StudyDir) -> None:
    name = real_cell(tiny, folder).name
    queue = queue_of(folder, job(), [name])
    for _ in range(2):
        fail(queue.lease_next(), job(), FailureKind.CRASH)
    assert (queue.lease_next(), queue.failures(), queue.has_work) == (None, {name: "crash"}, False)


def test_a_task_that_ran_out_of_memory_is_left_to_a_job_with_more(tiny: Study, folder: StudyDir) -> None:
    name = real_cell(tiny, folder).name
    queue = queue_of(folder, job(), [name])
    fail(queue.lease_next(), job(), FailureKind.OUT_OF_MEMORY)
    assert (queue.lease_next(), queue.failures()) == (None, {name: "out of memory"})
    assert queue_of(folder, job("8_0"), [name]).lease_next() is not None


def test_the_next_supervisor_records_the_end_of_a_lost_attempt(tiny: Study, folder: StudyDir) -> None:
    task = real_cell(tiny, folder)
    lease = LeaseManager(job="7_0").take(task.lease)
    assert lease is not None
    Attempt.begin(task, lease, "s", job_facts={"job": "7_0"})
    taken = queue_of(folder, job(restarts=1), [task.name]).lease_next()
    assert taken is not None
    assert [line["event"] for line in read_attempts(task.attempts)] == ["started", "lost"]
    assert read_attempts(task.attempts)[-1]["kind"] == "lost"


def test_a_task_too_long_for_the_rest_of_a_job_is_not_started(tiny: Study, folder: StudyDir) -> None:
    name = real_cell(tiny, folder).name
    short = job(left_s=36_000)
    queue = queue_of(folder, short, [name])
    object.__setattr__(short, "ends_at", time.time() + 60)
    assert queue.lease_next() is None
    assert queue.has_work
    queue.note_end("other", "done", 1.0)
    assert queue.needs_new_job


def test_a_task_too_long_for_any_job_is_started(tiny: Study, folder: StudyDir) -> None:
    assert queue_of(folder, job(left_s=60.1), [real_cell(tiny, folder).name]).lease_next() is not None


def test_a_supervisor_does_not_wait_in_an_allocation(folder: StudyDir) -> None:
    assert not queue_of(folder, job()).should_wait
    assert queue_of(folder, Job("", 0, 0, float("inf"), 1, (0,), ())).should_wait


def test_a_task_that_needs_an_abandoned_one_is_a_failure(tiny: Study, folder: StudyDir) -> None:
    queue = queue_of(folder, job())
    fail(queue.lease_next(), job(), FailureKind.CONFIG)
    while queue.lease_next():
        pass
    lost = {name for name, why in queue.failures().items() if why == "what it needs is not there"}
    assert lost == {task.name for task in tasks_of(tiny, folder) if task.needs}
