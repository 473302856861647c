"""Policies: what each kind of end is worth, and when enough is enough."""

from __future__ import annotations

import pytest

from nllgen.errors import EXIT_CELLS_FAILED, EXIT_DONE, EXIT_ENVIRONMENT, EXIT_STOPPED, EXIT_USAGE
from nllgen.launch.failures import (
    POLICIES,
    Kind,
    given_up,
    kind_of,
    kind_of_exit,
    kind_of_state,
    last_ended,
    num_of_kind,
    unended,
)


def attempts(*ends: tuple[Kind | None, int], submission: str = "s") -> list[dict[str, object]]:
    """Lines of attempts that ended like this, with the step that was safe."""
    lines: list[dict[str, object]] = []
    for number, (kind, saved) in enumerate(ends):
        who = {"attempt": str(number), "submission": submission}
        end = {"event": "failed" if kind else "done", "saved": saved} | ({"kind": str(kind)} if kind else {})
        lines += [{"event": "started", **who}, {**end, **who}]
    return lines


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (EXIT_DONE, None),
        (EXIT_CELLS_FAILED, Kind.CRASH),
        (EXIT_USAGE, Kind.CONFIG),
        (EXIT_ENVIRONMENT, Kind.ENVIRONMENT),
        (EXIT_STOPPED, Kind.ASKED),
        (-9, Kind.CRASH),
        (-11, Kind.CRASH),
        (137, Kind.CRASH),
    ],
)
def test_an_exit_code_has_a_kind(code: int, kind: Kind | None) -> None:
    assert kind_of_exit(code, "", out_of_memory=False) is kind


def test_a_worker_that_was_killed_for_its_memory_is_told_from_a_crash() -> None:
    assert kind_of_exit(-9, "", out_of_memory=True) is Kind.OUT_OF_MEMORY


def test_a_worker_may_say_itself_that_memory_was_short() -> None:
    assert kind_of_exit(1, "out of memory", out_of_memory=False) is Kind.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("NODE_FAIL", Kind.NODE_FAILURE),
        ("CANCELLED by 1000", Kind.ASKED),
        ("OUT_OF_MEMORY", Kind.OUT_OF_MEMORY),
        ("TIMEOUT", Kind.TIMEOUT),
        ("PREEMPTED", Kind.PREEMPTED),
        ("COMPLETED", Kind.LOST),
        ("", Kind.LOST),
    ],
)
def test_the_scheduler_s_word_for_an_end_has_a_kind(state: str, kind: Kind) -> None:
    assert kind_of_state(state) is kind


@pytest.mark.parametrize("kind", list(Kind))
def test_a_kind_is_given_up_after_its_retries_and_not_before(kind: Kind) -> None:
    allowed = POLICIES[kind].retries
    assert given_up(attempts(*[(kind, 0)] * allowed), "s") is None
    assert given_up(attempts(*[(kind, 0)] * (allowed + 1)), "s") is kind


@pytest.mark.parametrize("kind", [kind for kind in Kind if POLICIES[kind].progress_renews])
def test_progress_makes_an_attempt_free(kind: Kind) -> None:
    assert given_up(attempts(*[(kind, 100 * i) for i in range(1, 30)]), "s") is None


@pytest.mark.parametrize("kind", [kind for kind in Kind if POLICIES[kind].progress_renews])
def test_attempts_that_save_the_same_step_again_make_no_progress(kind: Kind) -> None:
    ends = [(kind, 100)] * (POLICIES[kind].retries + 2)
    assert given_up(attempts(*ends), "s") is kind


@pytest.mark.parametrize("kind", [Kind.CONFIG, Kind.ENVIRONMENT, Kind.ASKED])
def test_progress_does_not_help_where_the_same_would_come_again(kind: Kind) -> None:
    assert given_up(attempts((kind, 500)), "s") is kind


def test_a_new_submission_counts_anew() -> None:
    lines = attempts((Kind.CRASH, 0), (Kind.CRASH, 0))
    assert given_up(lines, "s") is Kind.CRASH
    assert given_up(lines, "t") is None


def test_a_task_that_is_done_is_not_given_up() -> None:
    assert given_up(attempts((Kind.CRASH, 0), (None, 0)), "s") is None


def test_one_kind_s_failures_do_not_count_for_another() -> None:
    lines = attempts((Kind.CRASH, 0), (Kind.OUT_OF_MEMORY, 0), (Kind.OUT_OF_MEMORY, 0))
    assert num_of_kind(lines, Kind.OUT_OF_MEMORY, "s") == 2
    assert given_up(lines, "s") is None


def test_an_attempt_without_an_end_is_found() -> None:
    lines = [*attempts((Kind.CRASH, 0)), {"event": "started", "attempt": "x", "submission": "s"}]
    found = unended(lines)
    assert found is not None
    assert (found["attempt"], last_ended(lines)) == ("x", None)
    assert unended(attempts((None, 0))) is None


def test_a_word_of_another_version_is_a_crash() -> None:
    assert kind_of({"event": "failed", "kind": "bitrot"}) is Kind.CRASH
    assert kind_of({"event": "failed"}) is Kind.CRASH
