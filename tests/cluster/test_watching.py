"""Status, cancellation and retry of studies on a real cluster."""

from __future__ import annotations

import pytest

from tests.cluster.scenarios import Early, Retried, Watched
from tests.cluster.studies import STEPS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def watched(early: Early) -> Watched:
    seen: Watched = early["watched"].result()
    return seen


@pytest.fixture(scope="module")
def retried(early: Early) -> Retried:
    seen: Retried = early["retried"].result()
    return seen


def test_one_cell_runs_and_the_others_are_queued(watched: Watched) -> None:
    assert (len(watched.running), len(watched.queued)) == (1, 2)


def test_one_cancelled_cell_stops_and_the_next_goes_on(watched: Watched) -> None:
    waits, next_one = watched.queued
    assert watched.next_one == next_one
    assert sorted(watched.stopped) == sorted([*watched.running, waits])


def test_a_cancelled_study_has_nothing_queued_and_its_running_cell_has_saved_its_state(watched: Watched) -> None:
    assert watched.next_one in watched.told
    assert watched.study.queue() == []
    last = watched.study.attempts(watched.next_one)[-1]
    assert (last["event"], last["kind"], last["saved"] > 0) == ("stopped", "asked", True)


def test_status_needs_no_sacct(watched: Watched) -> None:
    states = watched.without_sacct
    assert [name for name in states if states[name] == "running"] == watched.running


def test_a_retry_runs_to_its_end_and_a_log_is_followed_until_then(retried: Retried) -> None:
    (name,) = retried.study.cells()
    assert "nothing to try again" in retried.other_kind
    assert name in retried.retry
    assert f"{STEPS}/{STEPS}" in retried.followed
    assert retried.states == {name: "done"}
    assert "submitit" in retried.job_log
