"""The states of tasks and of their results, and the one function that tells whether a result counts."""

from __future__ import annotations

from enum import StrEnum


class TaskKind(StrEnum):
    """Kinds of tasks."""

    TRUTH = "truth"
    DATASET = "dataset"
    CELL = "cell"


class ResultState(StrEnum):
    """States of the files that a task leaves."""

    MISSING = "missing"  # nothing is there
    PARTIAL = "partial"  # a checkpoint, or a data set that is too small
    DAMAGED = "damaged"  # a file that cannot be what was written
    STALE = "stale"  # whole, but made with another truth, or in another container than is required
    LOCKED = "locked"  # in use, or not to be read now; nothing is known of it
    COMPLETE = "complete"
    DIVERGED = "diverged"  # complete: training ended with a non-finite loss, which is a result


class TaskStatus(StrEnum):
    """States of a task as a user sees them."""

    DONE = "done"
    DIVERGED = "diverged"
    DAMAGED = "damaged"
    STALE = "stale"
    RUNNING = "running"
    QUEUED = "queued"
    FAILED = "failed"
    STOPPED = "stopped"
    WAITING = "waiting"
