"""The record of attempts, and the lease that is held until it is complete."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from nllgen.errors import EXIT_STOPPED, ConfigError, MachineError, StoppedError
from nllgen.launch import attempt as attempts
from nllgen.launch.attempt import Attempt, modified_ns, recorded_attempt, renewing, saved_step, stopping
from nllgen.launch.freeze import freeze
from nllgen.launch.lease import Lease, LeaseManager
from nllgen.launch.retry_policy import FailureKind
from nllgen.launch.tasks import read_attempts
from nllgen.storage.atomic import make_folder
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study
from tests.faults.injected import failing_at


@pytest.fixture
def task(tiny: Study, tmp_path: Path) -> Task:
    return tasks_of(tiny, freeze(tiny, tmp_path)[0])[2]


@pytest.fixture
def lease(task: Task) -> Lease:
    return take(task)


def take(task: Task) -> Lease:
    lease = LeaseManager().take(task.lease)
    assert lease is not None
    return lease


def events(task: Task) -> list[tuple[str, int | None, str | None]]:
    return [(line["event"], line.get("exit_code"), line.get("kind")) for line in read_attempts(task.attempts)]


@pytest.mark.parametrize(
    ("code", "kind", "outcome"),
    [
        (0, None, "done"),
        (EXIT_STOPPED, FailureKind.ASKED, "stopped"),
        (EXIT_STOPPED, FailureKind.PREEMPTED, "stopped"),
        (1, FailureKind.CRASH, "failed"),
        (-9, FailureKind.OUT_OF_MEMORY, "failed"),
    ],
)
def test_an_end_is_recorded_with_its_kind_and_the_lease_let_go(
    task: Task, lease: Lease, code: int, kind: FailureKind | None, outcome: str
) -> None:
    assert Attempt.begin(task, lease, "s").end(code, kind, "so it was") == outcome
    assert events(task) == [("started", None, None), (outcome, code, kind)]
    assert not task.lease.exists()


@pytest.mark.parametrize(
    ("error", "outcome", "code", "kind"),
    [
        (StoppedError("x"), "stopped", 75, "asked"),
        (KeyboardInterrupt(), "stopped", 75, "asked"),
        (ConfigError("x"), "failed", 2, "config"),
        (MachineError("x"), "failed", 3, "environment"),
        (OSError("x"), "failed", 3, "environment"),
        (ValueError("x"), "failed", 1, "crash"),
        (MemoryError("x"), "failed", 1, "out of memory"),
    ],
)
def test_an_exception_is_recorded_and_passed_on(
    task: Task, lease: Lease, error: BaseException, outcome: str, code: int, kind: FailureKind | None
) -> None:
    with pytest.raises(type(error)), recorded_attempt(task, lease, "s"):
        raise error
    assert events(task) == [("started", None, None), (outcome, code, kind)]
    assert not task.lease.exists()


def test_a_block_that_ends_well_is_done(task: Task, lease: Lease) -> None:
    with recorded_attempt(task, lease, "s"):
        pass
    assert events(task) == [("started", None, None), ("done", 0, None)]


def test_attempts_are_counted(task: Task) -> None:
    for number in (1, 2):
        with recorded_attempt(task, take(task), "s") as attempt:
            assert (attempt.number, attempt.name[:2]) == (number, f"{number}-")


def test_the_successor_of_a_killed_attempt_records_its_end(task: Task, lease: Lease) -> None:
    Attempt.begin(task, lease, "s")  # and its process is killed
    lease.release()
    with recorded_attempt(task, take(task), "t"):
        pass
    assert [event for event, *_ in events(task)] == ["started", "lost", "started", "done"]


def test_the_step_that_is_safe_in_a_checkpoint_is_recorded(task: Task, lease: Lease) -> None:
    attempt = Attempt.begin(task, lease, "s")
    task.task_dir.progress.write_text(json.dumps({"done": 70, "total": 100, "saved": 50}))
    attempt.end(EXIT_STOPPED, FailureKind.TIMEOUT)
    assert read_attempts(task.attempts)[-1]["saved"] == 50


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"saved": "x"}', '{"saved": 3}', "[" * 100_000])
def test_progress_that_cannot_be_read_is_none(task: Task, text: str) -> None:
    make_folder(task.task_dir.path)
    task.task_dir.progress.write_text(text)
    assert saved_step(task) == 0


def test_a_lease_is_let_go_where_nothing_can_be_recorded(
    task: Task, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "record", raise_os_error)
    with pytest.raises(MachineError), recorded_attempt(task, lease, "s"):
        pass
    assert not task.lease.exists()


def raise_os_error(path: Path, **fields: object) -> None:
    raise MachineError("the disk is full")


def test_a_lease_is_held_until_the_end_is_recorded(task: Task, lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise another supervisor of the submission could run the failed task again."""
    at_release = []
    release = Lease.release

    def watched(lease: Lease) -> None:
        at_release.append([event for event, *_ in events(task)])
        release(lease)

    monkeypatch.setattr(Lease, "release", watched)
    Attempt.begin(task, lease, "s").end(1, FailureKind.CRASH)
    assert at_release == [["started", "failed"]]


def test_a_lease_is_renewed_while_its_task_runs_and_not_after(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "RENEW_S", 0.02)
    os.utime(lease.path, (5, 5))
    with renewing(lease):
        end = time.monotonic() + 20
        while lease.path.stat().st_mtime == 5:
            assert time.monotonic() < end
            time.sleep(0.01)
    os.utime(lease.path, (5, 5))
    time.sleep(0.1)
    assert lease.path.stat().st_mtime == 5


@pytest.mark.parametrize(
    ("before", "after", "stops"), [(None, 100, True), (100, 100, False), (100, 200, True), (100, 50, True)]
)
def test_a_stop_file_written_after_the_command_stops_it_whatever_the_clock_says(
    lease: Lease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int | None, after: int, stops: bool
) -> None:
    monkeypatch.setattr(attempts, "_STOP_POLL_S", 0.02)
    path, heard = tmp_path / "stop", threading.Event()
    monkeypatch.setattr(signal, "pthread_kill", lambda *_: heard.set())
    if before is not None:
        path.touch()
        os.utime(path, (before, before))
    known = {path: modified_ns(path)}
    path.touch()
    os.utime(path, (after, after))
    with stopping(known, lease):
        assert heard.wait(10 if stops else 0.3) == stops


def test_a_task_keeps_the_threads_of_its_first_attempt(task: Task, lease: Lease) -> None:
    """Use the recorded number even if nothing was saved: another number would give other bits."""
    assert Attempt.begin(task, lease, "s", threads=2).threads == 2
    lease.release()
    with recorded_attempt(task, take(task), "t", threads=5) as attempt:
        assert attempt.threads == 2
    assert [line["threads"] for line in read_attempts(task.attempts) if line["event"] == "started"] == [2, 2]


def test_an_attempt_does_not_begin_while_earlier_ones_cannot_be_read(task: Task, lease: Lease) -> None:
    """Once, it was the first of them: with other threads, and so with other bits."""
    Attempt.begin(task, lease, "s", threads=3).end(EXIT_STOPPED, FailureKind.PREEMPTED)
    again = take(task)
    with failing_at(1, task.attempts), pytest.raises(MachineError, match="cannot read"):
        Attempt.begin(task, again, "s", threads=1)
    assert not task.lease.exists()
    assert len(events(task)) == 2
    assert Attempt.begin(task, take(task), "s", threads=1).threads == 3
