"""Attempts: what is recorded, and that the claim outlives the record."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest

from nllgen.errors import EXIT_STOPPED, ConfigError, MachineError, StoppedError
from nllgen.launch import attempt as attempts
from nllgen.launch.attempt import Attempt, recorded, renewing, saved_step, stopping, touched
from nllgen.launch.claims import Claim, Claims
from nllgen.launch.failures import Kind
from nllgen.launch.submit import freeze
from nllgen.launch.tasks import read_attempts, tasks_of
from nllgen.store.atomic import make_folder


@pytest.fixture
def task(tiny, tmp_path):
    return tasks_of(tiny, freeze(tiny, tmp_path)[0])[2]


@pytest.fixture
def claim(task):
    return Claims().take(task.claim)


def events(task):
    return [(line["event"], line.get("exit_code"), line.get("kind")) for line in read_attempts(task.attempts)]


@pytest.mark.parametrize(
    ("code", "kind", "outcome"),
    [
        (0, None, "done"),
        (EXIT_STOPPED, Kind.ASKED, "stopped"),
        (EXIT_STOPPED, Kind.PREEMPTED, "stopped"),
        (1, Kind.CRASH, "failed"),
        (-9, Kind.OUT_OF_MEMORY, "failed"),
    ],
)
def test_an_end_is_recorded_with_its_kind_and_the_claim_let_go(task, claim, code, kind, outcome):
    assert Attempt.begin(task, claim, "s").end(code, kind, "so it was") == outcome
    assert events(task) == [("started", None, None), (outcome, code, kind)]
    assert not task.claim.exists()


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
def test_an_exception_is_recorded_and_passed_on(task, claim, error, outcome, code, kind):
    with pytest.raises(type(error)), recorded(task, claim, "s"):
        raise error
    assert events(task) == [("started", None, None), (outcome, code, kind)]
    assert not task.claim.exists()


def test_a_block_that_ends_well_is_done(task, claim):
    with recorded(task, claim, "s"):
        pass
    assert events(task) == [("started", None, None), ("done", 0, None)]


def test_attempts_are_counted(task):
    for number in (1, 2):
        with recorded(task, Claims().take(task.claim), "s") as attempt:
            assert (attempt.number, attempt.name[:2]) == (number, f"{number}-")


def test_an_attempt_that_could_not_record_its_end_is_given_one_by_its_successor(task, claim):
    Attempt.begin(task, claim, "s")  # and its process is killed
    claim.release()
    with recorded(task, Claims().take(task.claim), "t"):
        pass
    assert [event for event, *_ in events(task)] == ["started", "lost", "started", "done"]


def test_the_step_that_is_safe_in_a_checkpoint_is_recorded(task, claim):
    attempt = Attempt.begin(task, claim, "s")
    task.folder.progress.write_text(json.dumps({"done": 70, "total": 100, "saved": 50}))
    attempt.end(EXIT_STOPPED, Kind.TIMEOUT)
    assert read_attempts(task.attempts)[-1]["saved"] == 50


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"saved": "x"}', '{"saved": 3}', "[" * 100_000])
def test_progress_that_cannot_be_read_is_none(task, text):
    make_folder(task.folder.path)
    task.folder.progress.write_text(text)
    assert saved_step(task) == 0


def test_a_claim_is_let_go_where_nothing_can_be_recorded(task, claim, monkeypatch):
    monkeypatch.setattr(attempts, "record", refuse)
    with pytest.raises(MachineError), recorded(task, claim, "s"):
        pass
    assert not task.claim.exists()


def refuse(path, **fields):
    raise MachineError("the disk is full")


def test_a_claim_is_held_until_the_end_is_recorded(task, claim, monkeypatch):
    """Else another supervisor of the submission may run again what has just failed."""
    at_release = []
    release = Claim.release

    def watched(claim):
        at_release.append([event for event, *_ in events(task)])
        release(claim)

    monkeypatch.setattr(Claim, "release", watched)
    Attempt.begin(task, claim, "s").end(1, Kind.CRASH)
    assert at_release == [["started", "failed"]]


def test_a_claim_is_renewed_while_its_task_runs_and_not_after(claim, monkeypatch):
    monkeypatch.setattr(attempts, "RENEW_S", 0.02)
    os.utime(claim.path, (5, 5))
    with renewing(claim):
        end = time.monotonic() + 20
        while claim.path.stat().st_mtime == 5:
            assert time.monotonic() < end
            time.sleep(0.01)
    os.utime(claim.path, (5, 5))
    time.sleep(0.1)
    assert claim.path.stat().st_mtime == 5


@pytest.mark.parametrize(
    ("before", "after", "stops"), [(None, 100, True), (100, 100, False), (100, 200, True), (100, 50, True)]
)
def test_a_stop_that_came_after_the_command_stops_it_whatever_the_clock_says(
    claim, tmp_path, monkeypatch, before, after, stops
):
    monkeypatch.setattr(attempts, "_LOOK_S", 0.02)
    path, heard = tmp_path / "stop", threading.Event()
    monkeypatch.setattr(signal, "pthread_kill", lambda *_: heard.set())
    if before is not None:
        path.touch()
        os.utime(path, (before, before))
    known = {path: touched(path)}
    path.touch()
    os.utime(path, (after, after))
    with stopping(known, claim):
        assert heard.wait(10 if stops else 0.3) == stops


def test_a_task_keeps_the_threads_of_its_first_attempt(task, claim):
    """Also where that one was killed before it could save anything: other threads would give other bits."""
    assert Attempt.begin(task, claim, "s", threads=2).threads == 2
    claim.release()
    with recorded(task, Claims().take(task.claim), "t", threads=5) as attempt:
        assert attempt.threads == 2
    assert [line["threads"] for line in read_attempts(task.attempts) if line["event"] == "started"] == [2, 2]
