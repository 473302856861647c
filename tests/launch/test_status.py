"""The status of tasks from files alone; the writers of these files are tested from end to end."""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from benchmarks.dummy_worker import small_result
from nllgen.launch.lease import LEASE_S, LeaseManager
from nllgen.launch.retry_policy import FAILED, STARTED, STOPPED
from nllgen.launch.slurm.live_jobs import LiveJobs
from nllgen.launch.status import TaskReport, status, to_json
from nllgen.launch.tasks import record
from nllgen.storage.result import write_result
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task
from nllgen.study.config import Study


def test_a_new_study_waits(tiny: Study, folder: StudyDir) -> None:
    assert Counter(row.status for row in status(folder, tiny)) == {"waiting": 5}


def test_a_leased_task_runs(task: Task, row: Callable[[], TaskReport]) -> None:
    LeaseManager().take(task.lease)
    assert row().status == "running"


@pytest.mark.parametrize(("dead_step", "detail"), [(300.0, "gradient is dead since step 300"), (math.nan, "")])
def test_a_finished_game_says_since_when_it_was_dead(
    task: Task, row: Callable[[], TaskReport], dead_step: float, detail: str
) -> None:
    result = small_result(task.cell)
    weights = task.task_dir.model(result.attrs["model_sha256"])
    dead = replace(result, attrs=result.attrs | {"dead_step": dead_step})
    write_result(task.task_dir.result, dead, "a", weights.touch)
    report = row()
    assert report.status == "done"
    assert report.detail.endswith(detail)
    assert bool(report.detail) == bool(detail)


def test_a_dead_machines_lease_is_still_running(task: Task, row: Callable[[], TaskReport]) -> None:
    task.lease.write_text(json.dumps({"host": "elsewhere", "process": "1:1"}))
    assert row().status == "running"


@pytest.mark.parametrize(
    ("job", "age_s", "queued", "state"),
    [
        ("7_0", 2 * LEASE_S, False, "stopped"),
        ("7_0", 2 * LEASE_S, True, "running"),
        ("7_0", 0.1 * LEASE_S, False, "running"),
        ("", 2 * LEASE_S, False, "running"),
    ],
)
def test_a_lease_is_dead_when_its_job_is_gone_and_it_is_old(
    tiny: Study, folder: StudyDir, task: Task, job: str, age_s: float, queued: bool, state: str
) -> None:
    task.lease.write_text(json.dumps({"host": "elsewhere", "process": "1:1", "job": job}))
    then = time.time() - age_s
    os.utime(task.lease, (then, then))
    record(task.attempts, event=STARTED)
    live = LiveJobs({task.name: "RUNNING"} if queued else {}, {task.name: "7"}, ())
    assert next(row.status for row in status(folder, tiny, live) if row.name == task.name) == state


@pytest.mark.parametrize(
    ("kind", "failures", "job", "state"),
    [
        ("config", 1, "7", "failed"),
        ("crash", 1, "7", "queued"),  # once more, in the same job
        ("crash", 2, "7", "failed"),
        ("config", 1, "8", "queued"),  # sent again since
    ],
)
def test_a_task_without_retries_has_failed_while_its_job_goes_on(
    tiny: Study, folder: StudyDir, task: Task, kind: str, failures: int, job: str, state: str
) -> None:
    for attempt in range(failures):
        record(task.attempts, event=STARTED, attempt=f"a{attempt}", submission="s", job="7_0")
        record(task.attempts, event=FAILED, attempt=f"a{attempt}", submission="s", kind=kind)
    live = LiveJobs({task.name: "RUNNING"}, {task.name: job}, (job,))
    assert next(row.status for row in status(folder, tiny, live) if row.name == task.name) == state


def test_a_task_cancelled_before_its_start_is_stopped_although_a_job_has_it(
    tiny: Study, folder: StudyDir, task: Task
) -> None:
    task.stop.touch()
    live = LiveJobs({task.name: "RUNNING"}, {task.name: "7"}, ("7",))
    assert next(row.status for row in status(folder, tiny, live) if row.name == task.name) == "stopped"


def test_a_lease_of_a_dead_process_does_not_run(task: Task, row: Callable[[], TaskReport]) -> None:
    LeaseManager().take(task.lease)
    who = json.loads(task.lease.read_text())
    task.lease.write_text(json.dumps(who | {"process": "999999999:1"}))
    record(task.attempts, event=STARTED)
    assert row().status == "stopped"


@pytest.mark.parametrize(("facts", "words"), [({"job": "7_2"}, "its job 7_2 is gone"), ({}, "its supervisor is gone")])
def test_an_attempt_without_an_end_names_what_ran_it(
    facts: dict[str, str], words: str, task: Task, row: Callable[[], TaskReport]
) -> None:
    record(task.attempts, event=STARTED, attempt="a", **facts)
    assert (row().status, row().detail.partition(";")[0]) == ("stopped", words)


def test_a_failure_has_its_kind_its_reason_and_its_exit_code(task: Task, row: Callable[[], TaskReport]) -> None:
    record(task.attempts, event=STARTED)
    record(task.attempts, event=FAILED, exit_code=3, kind="environment", reason="no such asset")
    expected = ("failed", "environment", "environment: no such asset: exit code 3", 1)
    assert (row().status, row().kind, row().detail, row().attempts) == expected


def test_a_stopped_task_goes_on_when_submitted_again(task: Task, row: Callable[[], TaskReport]) -> None:
    record(task.attempts, event=STARTED)
    record(task.attempts, event=STOPPED, exit_code=75)
    assert (row().status, "submitted again" in row().detail) == ("stopped", True)


def test_a_result_that_cannot_be_read_is_damaged(task: Task, row: Callable[[], TaskReport]) -> None:
    task.task_dir.result.write_bytes(b"hello")
    assert row().status == "damaged"


def test_a_truth_whose_result_is_gone_is_not_done(tiny: Study, folder: StudyDir) -> None:
    """Keep its weights and lose its result: nothing may crash, and it has to run again."""
    assert tiny.truth is not None
    truth = folder.truth(tiny.truth.id)
    truth.path.mkdir(parents=True)
    folder.truth_weights(tiny.truth.id).touch()
    assert status(folder, tiny)[0].status == "waiting"
    truth.result.write_bytes(b"hello")
    assert status(folder, tiny)[0].status not in ("done", "diverged")


def test_logs_are_named_relative_to_the_study(row: Callable[[], TaskReport]) -> None:
    assert row().log == f"cells/{row().name}/log.txt"


def test_json_counts_every_state(tiny: Study, folder: StudyDir) -> None:
    found = to_json(status(folder, tiny))
    assert found["counts"] == dict.fromkeys(TaskStatus, 0) | {"waiting": 5}
    assert json.loads(json.dumps(found))["tasks"][0]["name"] == "truth"
