"""The kinds of failures, and the number of retries of each."""

from __future__ import annotations

from typing import Any

import pytest

from nllgen.launch.retry_policy import (
    POLICIES,
    FailureKind,
    exhausted_kind,
    failure_kind,
    failure_kind_of_exit,
    failure_kind_of_state,
    last_end,
    needs_other_job,
    num_failures,
    unfinished_start,
)

RENEWED = [kind for kind, policy in POLICIES.items() if policy.progress_renews]


def attempt(number: int, kind: str, *, saved: int = 0, submission: str = "s", job: str = "7_0") -> list[dict[str, Any]]:
    name = {"attempt": str(number), "submission": submission}
    return [
        {"event": "started", "job": job, **name},
        {"event": "failed", "kind": kind, "saved": saved, **name},
    ]


def attempts(*kinds: str, saved: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    steps = saved or (0,) * len(kinds)
    return [
        line for i, (kind, step) in enumerate(zip(kinds, steps, strict=True)) for line in attempt(i, kind, saved=step)
    ]


def test_every_kind_has_a_policy() -> None:
    assert set(POLICIES) == set(FailureKind)


@pytest.mark.parametrize("kind", FailureKind)
def test_a_kind_is_exhausted_after_the_retries_of_its_policy(kind: FailureKind) -> None:
    retries = POLICIES[kind].retries
    assert exhausted_kind(attempts(*[kind] * retries), "s") is None
    assert exhausted_kind(attempts(*[kind] * (retries + 1)), "s") is kind


@pytest.mark.parametrize("kind", RENEWED)
def test_an_attempt_that_got_further_does_not_count(kind: FailureKind) -> None:
    assert exhausted_kind(attempts(*[kind] * 20, saved=tuple(range(1, 21))), "s") is None


def test_memory_is_capped_whatever_the_progress() -> None:
    assert exhausted_kind(attempts(*[FailureKind.OUT_OF_MEMORY] * 3, saved=(1, 2, 3)), "s") is FailureKind.OUT_OF_MEMORY


def test_progress_is_measured_against_all_attempts_before() -> None:
    lines = attempts("timeout", "timeout", "timeout", "timeout", saved=(50, 10, 20, 30))
    assert exhausted_kind(lines, "s") is FailureKind.TIMEOUT


def test_another_submission_starts_to_count_anew() -> None:
    lines = [line for i in range(5) for line in attempt(i, "crash", submission="old")]
    assert exhausted_kind(lines, "s") is None
    assert num_failures([*lines, *attempt(9, "crash")], FailureKind.CRASH, "s") == 1


def test_kinds_are_counted_apart() -> None:
    assert exhausted_kind(attempts("crash", "timeout", "preempted", "lost"), "s") is None


def test_a_running_attempt_is_not_exhausted() -> None:
    assert exhausted_kind([*attempts("crash", "crash"), {"event": "started", "attempt": "x"}], "s") is None


def test_a_done_task_is_not_exhausted() -> None:
    assert (
        exhausted_kind([*attempts("crash", "crash"), {"event": "done", "attempt": "x", "submission": "s"}], "s") is None
    )


def test_an_unknown_kind_is_a_crash() -> None:
    assert failure_kind({"event": "failed", "kind": "frobnicated"}) is FailureKind.CRASH


def test_the_start_without_an_end_is_found() -> None:
    lines = [*attempts("crash"), {"event": "started", "attempt": "x"}]
    assert (unfinished_start(lines), last_end(lines)) == (lines[-1], None)
    assert unfinished_start(attempts("crash")) is None


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("CANCELLED by 0", FailureKind.ASKED),
        ("NODE_FAIL", FailureKind.NODE_FAILURE),
        ("OUT_OF_MEMORY", FailureKind.OUT_OF_MEMORY),
        ("TIMEOUT", FailureKind.TIMEOUT),
        ("PREEMPTED", FailureKind.PREEMPTED),
        ("FAILED", FailureKind.LOST),
        ("", FailureKind.LOST),
    ],
)
def test_a_state_of_the_scheduler_stands_for_a_kind(state: str, kind: FailureKind) -> None:
    assert failure_kind_of_state(state) is kind


@pytest.mark.parametrize(
    ("code", "reason", "oom", "kind"),
    [
        (0, "", False, None),
        (1, "", False, FailureKind.CRASH),
        (2, "", False, FailureKind.CONFIG),
        (3, "", False, FailureKind.ENVIRONMENT),
        (75, "", False, FailureKind.ASKED),
        (-9, "", False, FailureKind.CRASH),
        (-9, "", True, FailureKind.OUT_OF_MEMORY),
        (1, "out of memory", False, FailureKind.OUT_OF_MEMORY),
        (-11, "", False, FailureKind.CRASH),
    ],
)
def test_an_exit_code_stands_for_a_kind(code: int, reason: str, oom: bool, kind: FailureKind | None) -> None:
    assert failure_kind_of_exit(code, reason, out_of_memory=oom) is kind


def test_a_task_that_ran_out_of_memory_needs_another_job() -> None:
    lines = attempt(0, "out of memory", job="7_0")
    assert needs_other_job(lines, "7_0")
    assert needs_other_job(lines, "7_3")  # of the same array, which has the same memory
    assert not needs_other_job(lines, "8_0")
    assert not needs_other_job(lines, "")
    assert not needs_other_job(attempt(0, "crash", job="7_0"), "7_0")
