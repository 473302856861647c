"""Why an attempt ended, and whether the next one is worth it. Each kind has a capped policy of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from nllgen.errors import EXIT_DONE, EXIT_ENVIRONMENT, EXIT_STOPPED, EXIT_USAGE

Line = Mapping[str, Any]

STARTED, DONE, STOPPED, FAILED, LOST = "started", "done", "stopped", "failed", "lost"


class FailureKind(StrEnum):
    """Why an attempt ended without a result. A divergence is not among them: it is a result."""

    CONFIG = "config"
    ENVIRONMENT = "environment"
    OUT_OF_MEMORY = "out of memory"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    NODE_FAILURE = "node failure"
    LOST = "lost"
    CRASH = "crash"
    ASKED = "asked"


@dataclass(frozen=True)
class Policy:
    """What follows an attempt of one kind.

    Attributes:
        retries: further attempts under one submission.
        progress_renews: an attempt that saved more steps than all before it does not count.
        why: for people.
    """

    retries: int
    progress_renews: bool
    why: str


POLICIES: Final[Mapping[FailureKind, Policy]] = {
    FailureKind.CONFIG: Policy(0, False, "the same configuration fails the same way"),
    FailureKind.ENVIRONMENT: Policy(0, False, "something is missing on the machine: mend it and submit again"),
    FailureKind.OUT_OF_MEMORY: Policy(2, False, "again with twice the memory"),
    FailureKind.TIMEOUT: Policy(2, True, "goes on as long as it gets further"),
    FailureKind.PREEMPTED: Policy(3, True, "free as long as it gets further"),
    FailureKind.NODE_FAILURE: Policy(3, True, "not the cell's fault"),
    FailureKind.LOST: Policy(3, True, "its supervisor vanished without a word"),
    FailureKind.CRASH: Policy(1, True, "once more, from the last checkpoint"),
    FailureKind.ASKED: Policy(0, False, "stopped when asked to: submit again to go on"),
}

# what sacct calls the end of a job that could say nothing itself
_STATES: Final[Mapping[str, FailureKind]] = {
    "BOOT_FAIL": FailureKind.NODE_FAILURE,
    "CANCELLED": FailureKind.ASKED,
    "NODE_FAIL": FailureKind.NODE_FAILURE,
    "OUT_OF_MEMORY": FailureKind.OUT_OF_MEMORY,
    "PREEMPTED": FailureKind.PREEMPTED,
    "REQUEUED": FailureKind.LOST,
    "TIMEOUT": FailureKind.TIMEOUT,
}


def failure_kind_of_state(state: str) -> FailureKind:
    """The kind that a scheduler's word for the end of a job stands for; ``lost`` where it says nothing of use."""
    return _STATES.get(state.split()[0] if state.split() else "", FailureKind.LOST)


def failure_kind_of_exit(code: int, reason: str, *, out_of_memory: bool) -> FailureKind | None:
    """The kind of a worker's end; None where it is done.

    Args:
        code: its exit code, negative for a signal.
        reason: what the worker itself said.
        out_of_memory: whether the kernel is known to have killed it for its memory.
    """
    if code == EXIT_DONE:
        return None
    if out_of_memory or reason == FailureKind.OUT_OF_MEMORY:
        return FailureKind.OUT_OF_MEMORY
    return {
        EXIT_USAGE: FailureKind.CONFIG,
        EXIT_ENVIRONMENT: FailureKind.ENVIRONMENT,
        EXIT_STOPPED: FailureKind.ASKED,
    }.get(code, FailureKind.CRASH)


def last_end(lines: Sequence[Line]) -> Line | None:
    """The line that ended the newest attempt; None while it runs, or where there is none."""
    if not lines or lines[-1].get("event") == STARTED:
        return None
    return lines[-1]


def unfinished_start(lines: Sequence[Line]) -> Line | None:
    """The start of an attempt that has no end: it is at work, or was lost."""
    ended = {line.get("attempt") for line in lines if line.get("event") != STARTED}
    open_ones = [line for line in lines if line.get("event") == STARTED and line.get("attempt") not in ended]
    return open_ones[-1] if open_ones else None


def failure_kind(line: Line) -> FailureKind | None:
    """The kind of a line that ends an attempt; ``crash`` where another version wrote a word not known here."""
    if line.get("event") == DONE:
        return None
    try:
        return FailureKind(str(line.get("kind")))
    except ValueError:
        return FailureKind.CRASH


def num_failures(lines: Sequence[Line], kind: FailureKind, submission: str) -> int:
    """Attempts of this kind under a submission that count against its policy."""
    count, furthest = 0, 0
    for line in lines:
        if line.get("event") in (STARTED, DONE):
            continue
        saved = _step(line)
        if line.get("submission") == submission and failure_kind(line) == kind:
            progress = POLICIES[kind].progress_renews and saved > furthest
            count = 0 if progress else count + 1
        furthest = max(furthest, saved)
    return count


def exhausted_kind(lines: Sequence[Line], submission: str) -> FailureKind | None:
    """The kind of failure for which a task is not tried again under a submission; None where it may be."""
    line = last_end(lines)
    if line is None or line.get("submission") != submission:
        return None
    kind = failure_kind(line)
    if kind is None or num_failures(lines, kind, submission) <= POLICIES[kind].retries:
        return None
    return kind


def next_memory_factor(had: float, kind: str | None) -> float:
    """How many times the profile's memory the next attempt gets: twice what it had where that was not enough.

    Args:
        had: how many times it was sent with the last time.
        kind: why the last attempt ended; empty or None where nobody knows.
    """
    return had * (2.0 if kind == FailureKind.OUT_OF_MEMORY else 1.0)


def needs_other_job(lines: Sequence[Line], job: str) -> bool:
    """Whether a task ran out of memory in this job or array: only another one has more."""
    line = last_end(lines)
    if not job or line is None or failure_kind(line) is not FailureKind.OUT_OF_MEMORY:
        return False
    starts = [start for start in lines if start.get("event") == STARTED and start.get("attempt") == line.get("attempt")]
    return any(str(start.get("job", "")).partition("_")[0] == job.partition("_")[0] for start in starts)


def _step(line: Line) -> int:
    saved = line.get("saved", 0)
    return saved if isinstance(saved, int) else 0
