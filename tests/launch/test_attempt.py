"""Attempts: what is recorded, and that the claim outlives the record."""

from __future__ import annotations

import contextlib
import os
import time

import pytest

from nllgen.errors import EXIT_STOPPED, MachineError, StoppedError
from nllgen.launch import attempt as attempts
from nllgen.launch import supervisor
from nllgen.launch.attempt import recorded, renewing
from nllgen.launch.claims import Claim, Claims
from nllgen.launch.submit import freeze
from nllgen.launch.supervisor import Supervisor
from nllgen.launch.tasks import read_attempts, tasks_of


@pytest.fixture
def task(tiny, tmp_path):
    return tasks_of(tiny, freeze(tiny, tmp_path)[0])[2]


@pytest.fixture
def claim(task):
    return Claims().take(task.claim)


def events(task):
    return [(line["event"], line.get("exit_code")) for line in read_attempts(task.attempts)]


@pytest.mark.parametrize(("code", "outcome"), [(0, "done"), (EXIT_STOPPED, "stopped"), (1, "failed"), (-9, "failed")])
def test_an_exit_code_is_recorded(task, claim, code, outcome):
    with recorded(task, claim, "s") as attempt:
        attempt.exit_code = code
    assert events(task) == [("started", None), (outcome, code)]
    assert attempt.outcome == outcome
    assert not task.claim.exists()


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (StoppedError("x"), "stopped", 75),
        (KeyboardInterrupt(), "stopped", 75),
        (MachineError("x"), "failed", 3),
        (OSError("x"), "failed", 3),
        (ValueError("x"), "failed", 1),
    ],
)
def test_an_exception_is_recorded_and_passed_on(task, claim, error, outcome, code):
    with pytest.raises(type(error)), recorded(task, claim, "s"):
        raise error
    assert events(task) == [("started", None), (outcome, code)]
    assert not task.claim.exists()


def test_attempts_are_counted(task):
    for number in (1, 2):
        with recorded(task, Claims().take(task.claim), "s") as attempt:
            assert (attempt.number, attempt.name[:2]) == (number, f"{number}-")


def test_a_claim_is_let_go_where_nothing_can_be_recorded(task, claim, monkeypatch):
    monkeypatch.setattr(attempts, "record", refuse)
    with pytest.raises(MachineError), recorded(task, claim, "s"):
        pass
    assert not task.claim.exists()


def refuse(path, **fields):
    raise MachineError("the disk is full")


@pytest.mark.parametrize("work", [lambda *_: 1, lambda *_: refuse(None)], ids=["fails", "raises"])
def test_a_supervisor_holds_its_claim_until_the_outcome_is_recorded(task, tmp_path, monkeypatch, work):
    """Else another supervisor of the submission may run again what has just failed."""
    at_release = []
    release = Claim.release

    def watched(claim):
        at_release.append([event for event, _ in events(task)] if claim.path == task.claim else None)
        release(claim)

    monkeypatch.setattr(Claim, "release", watched)
    monkeypatch.setattr(Supervisor, "_work", work)
    mine = Supervisor(tmp_path / "tiny", "s", 1, tmp_path)
    monkeypatch.setattr(supervisor, "tasks_of", lambda *_: [task])
    with contextlib.suppress(MachineError):
        mine()
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
