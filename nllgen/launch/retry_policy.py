"""The kinds of failures, and a capped retry policy for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from nllgen.errors import EXIT_DONE, EXIT_ENVIRONMENT, EXIT_STOPPED, EXIT_USAGE

Line = Mapping[str, Any]  # of a task's attempts.jsonl

STARTED, DONE, STOPPED, FAILED, LOST = "started", "done", "stopped", "failed", "lost"


class FailureKind(StrEnum):
    """Reasons for which an attempt ends without a result. A divergence is a result."""

    CONFIG = "config"
    ENVIRONMENT = "environment"
    OUT_OF_MEMORY = "out of memory"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    NODE_FAILURE = "node failure"
    LOST = "lost"
    CRASH = "crash"
    SUPERVISOR = "supervisor"
    ASKED = "asked"


@dataclass(frozen=True)
class Policy:
    """The retry policy of one kind of failure."""

    retries: int  # number of further attempts under one submission
    progress_renews: bool  # an attempt that saved more steps than all before it resets the count


POLICIES: Final[Mapping[FailureKind, Policy]] = {
    FailureKind.CONFIG: Policy(0, False),  # the same configuration fails the same way
    FailureKind.ENVIRONMENT: Policy(0, False),  # something is missing on the machine: mend it and submit again
    FailureKind.OUT_OF_MEMORY: Policy(2, False),  # again with twice the memory
    FailureKind.TIMEOUT: Policy(2, True),  # goes on as long as it gets further
    FailureKind.PREEMPTED: Policy(3, True),  # free as long as it gets further
    FailureKind.NODE_FAILURE: Policy(3, True),  # not the cell's fault
    FailureKind.LOST: Policy(3, True),  # its supervisor vanished without a word
    FailureKind.CRASH: Policy(1, True),  # once more, from the last checkpoint
    FailureKind.SUPERVISOR: Policy(1, False),  # an error outside of the worker: once more, perhaps on another node
    FailureKind.ASKED: Policy(0, False),  # stopped when asked to: submit again to go on
}

_QUICK_S = 30.0  # an attempt that fails within it has not begun to work
_FIRST_DELAY_S = 60
_MAX_DELAY_S = 3600

# state of a job according to sacct, for jobs that could not record their own end
_KIND_OF_STATE: Final[Mapping[str, FailureKind]] = {
    "BOOT_FAIL": FailureKind.NODE_FAILURE,
    "CANCELLED": FailureKind.ASKED,
    "NODE_FAIL": FailureKind.NODE_FAILURE,
    "OUT_OF_MEMORY": FailureKind.OUT_OF_MEMORY,
    "PREEMPTED": FailureKind.PREEMPTED,
    "REQUEUED": FailureKind.LOST,
    "TIMEOUT": FailureKind.TIMEOUT,
}
_KIND_OF_EXIT: Final[Mapping[int, FailureKind]] = {
    EXIT_USAGE: FailureKind.CONFIG,
    EXIT_ENVIRONMENT: FailureKind.ENVIRONMENT,
    EXIT_STOPPED: FailureKind.ASKED,
}


def failure_kind_of_state(state: str) -> FailureKind:
    """Return the kind for a job state of sacct, such as ``CANCELLED by 0``; ``lost`` if the state explains nothing."""
    return _KIND_OF_STATE.get(state.partition(" ")[0], FailureKind.LOST)


def failure_kind_of_exit(code: int, reason: str, *, out_of_memory: bool) -> FailureKind | None:
    """Return the kind for a worker's exit code and reported reason; None if it is done.

    The code of a signal is negative. ``out_of_memory`` tells that the kernel has killed it for its memory.
    """
    if code == EXIT_DONE:
        return None
    if out_of_memory or reason == FailureKind.OUT_OF_MEMORY:
        return FailureKind.OUT_OF_MEMORY
    return _KIND_OF_EXIT.get(code, FailureKind.CRASH)


def last_end(lines: Sequence[Line]) -> Line | None:
    """Return the line that ended the newest attempt; None if it has not ended or there is none."""
    if not lines or lines[-1].get("event") == STARTED:
        return None
    return lines[-1]


def unfinished_start(lines: Sequence[Line]) -> Line | None:
    """Return the start of the newest attempt without an end, which runs or was lost; None if there is none."""
    ended = {line.get("attempt") for line in lines if line.get("event") != STARTED}
    starts = [line for line in lines if line.get("event") == STARTED and line.get("attempt") not in ended]
    return starts[-1] if starts else None


def failure_kind(line: Line) -> FailureKind | None:
    """Return the kind of a line that ends an attempt, None if it is done; ``crash`` for a kind of another version."""
    if line.get("event") == DONE:
        return None
    try:
        return FailureKind(str(line.get("kind")))
    except ValueError:
        return FailureKind.CRASH


def time_of(line: Line) -> float:
    """Return the time at which a line was recorded, in seconds since 1970; 0 where it has none that can be read."""
    try:
        return datetime.fromisoformat(str(line.get("at"))).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def num_failures(lines: Sequence[Line], kind: FailureKind, submission: str) -> int:
    """Count the attempts of one kind under a submission that count against its policy."""
    count, furthest = 0, 0
    for line in lines:
        if line.get("event") in (STARTED, DONE):
            continue
        saved = _saved_step(line)
        if line.get("submission") == submission and failure_kind(line) == kind:
            has_progress = POLICIES[kind].progress_renews and saved > furthest
            count = 0 if has_progress else count + 1
        furthest = max(furthest, saved)
    return count


def exhausted_kind(lines: Sequence[Line], submission: str) -> FailureKind | None:
    """Return the kind of failure whose retries a task has used up under a submission; None if it may be retried."""
    end = last_end(lines)
    if end is None or end.get("submission") != submission:
        return None
    kind = failure_kind(end)
    if kind is None or num_failures(lines, kind, submission) <= POLICIES[kind].retries:
        return None
    return kind


def retry_delay_s(lines: Sequence[Line], submission: str) -> int:
    """Return how long a task is to wait before its next job, doubled by each quick failure after the second in a row.

    A job that ended before its first attempt failed quickly; so did an attempt that lasted seconds and saved nothing.
    """
    num_quick = 0
    for line in reversed([line for line in lines if line.get("event") != STARTED]):
        if line.get("submission") != submission or line.get("event") == DONE or not _was_quick(line, lines):
            break
        num_quick += 1
    return min(_FIRST_DELAY_S << (num_quick - 2), _MAX_DELAY_S) if num_quick >= 2 else 0


def _was_quick(end: Line, lines: Sequence[Line]) -> bool:
    start = next(
        (line for line in lines if line.get("event") == STARTED and line.get("attempt") == end.get("attempt")), None
    )
    if start is None:
        return True
    try:
        begin, over = (datetime.fromisoformat(str(line.get("at"))) for line in (start, end))
        return (over - begin).total_seconds() <= _QUICK_S
    except (ValueError, TypeError):
        return False


def next_memory_factor(previous: float, kind: FailureKind | None) -> float:
    """Return the multiple of the profile's memory for the next attempt, doubled after a lack of memory."""
    return previous * (2.0 if kind is FailureKind.OUT_OF_MEMORY else 1.0)


def needs_other_job(lines: Sequence[Line], job: str) -> bool:
    """Return True if a task ran out of memory in this job or array: only another one has more."""
    end = last_end(lines)
    if not job or end is None or failure_kind(end) is not FailureKind.OUT_OF_MEMORY:
        return False
    starts = [line for line in lines if line.get("event") == STARTED and line.get("attempt") == end.get("attempt")]
    return any(array_of(line) == job.partition("_")[0] for line in starts)


def array_of(line: Line) -> str:
    """Return the number of the array, or of the job, that a line was recorded by or for; empty without one."""
    return str(line.get("job", "")).partition("_")[0]


def _saved_step(line: Line) -> int:
    saved = line.get("saved", 0)
    return saved if isinstance(saved, int) else 0
