"""Patience of unattended steps: a question that the scheduler does not answer is asked again, with growing pauses."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeVar

from nllgen.errors import MachineError

UNATTENDED_S = 600.0  # a controller restarts, or is busy, for minutes
FIRST_PAUSE_S = 2.0
_MAX_PAUSE_S = 60.0
_ACCOUNTING_S = 60.0  # sacct is a help: the controller remembers recent jobs
# answers that asking again does not change
_FINAL = re.compile(
    r"is not on PATH|cannot be run|invalid job id|accounting storage is disabled|unrecognized option", re.I
)
# of sbatch: the controller may have accepted the job, or would accept it later
_TRANSIENT = re.compile(
    r"timed? ?out|unable to contact|connect failure|connection (refused|reset|failure)|zero bytes|temporarily"
    r"|backup controller|message (receive|send) failure|transport endpoint|did not answer|slurm_receive_msg",
    re.I,
)

_deadline: ContextVar[float] = ContextVar("deadline", default=0.0)  # by the monotonic clock; 0 where a person waits
_Answer = TypeVar("_Answer")


@contextlib.contextmanager
def unattended(limit_s: float = UNATTENDED_S) -> Iterator[None]:
    """Let :func:`ask` ask again within a block until the limit, which all questions of the block share."""
    token = _deadline.set(time.monotonic() + limit_s)
    try:
        yield
    finally:
        _deadline.reset(token)


def patience_end(attended_s: float) -> float:
    """Return the moment, by the monotonic clock, until which a step is tried again: later where nobody waits for it."""
    return _deadline.get() or time.monotonic() + attended_s


def is_transient(message: str) -> bool:
    """Return True if sbatch failed without a refusal: the controller was slow or away."""
    return bool(_TRANSIENT.search(message))


def ask(question: Callable[[], _Answer], *, is_accounting: bool = False) -> _Answer:
    """Return the answer to a question; ask again within a block of :func:`unattended` if it fails.

    Raises:
        MachineError: it was not answered.
    """
    left_s, pause_s = _deadline.get() - time.monotonic(), FIRST_PAUSE_S
    end = time.monotonic() + (min(left_s, _ACCOUNTING_S) if is_accounting else left_s)
    while True:
        try:
            return question()
        except MachineError as error:
            if time.monotonic() >= end or _FINAL.search(error.message):
                raise
        pause_s = pause(pause_s, end)


def pause(pause_s: float, end: float) -> float:
    """Wait, but not beyond a moment of the monotonic clock; return the length of the next pause."""
    time.sleep(max(0.0, min(pause_s, end - time.monotonic())))
    return min(2 * pause_s, _MAX_PAUSE_S)
