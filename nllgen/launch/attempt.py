"""One attempt on a task: recorded from its start to its end, under a claim that is let go only then."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from nllgen.errors import EXIT_CELLS_FAILED, EXIT_DONE, EXIT_ENVIRONMENT, EXIT_STOPPED, NllgenError
from nllgen.launch.claims import RENEW_S, Claim
from nllgen.launch.tasks import DONE, FAILED, STARTED, STOPPED, Task, read_attempts, record


@dataclass
class Attempt:
    """An attempt that is under way.

    Attributes:
        name: unique among those of the study.
        number: of attempts on this task, this one included.
        exit_code: what it ended with; 0 unless it is set or an exception ends it.
    """

    name: str
    number: int
    exit_code: int = EXIT_DONE

    @property
    def outcome(self) -> str:
        """``done``, ``stopped`` or ``failed``."""
        return {EXIT_DONE: DONE, EXIT_STOPPED: STOPPED}.get(self.exit_code, FAILED)


@contextlib.contextmanager
def recorded(task: Task, claim: Claim, submission: str) -> Iterator[Attempt]:
    """Record the start and the outcome of an attempt; the claim is released after that, whatever happens.

    Args:
        task: what is run.
        claim: held by the caller.
        submission: name of the submission that it belongs to.

    Raises:
        MachineError: the disk is full, the folder read-only or gone.
    """
    try:
        number = sum(line.get("event") == STARTED for line in read_attempts(task.attempts)) + 1
        attempt = Attempt(f"{number}-{uuid.uuid4().hex[:8]}", number)
        common = {"attempt": attempt.name, "submission": submission}
        record(task.attempts, event=STARTED, at=_now(), host=os.uname().nodename, pid=os.getpid(), **common)
        try:
            yield attempt
        except BaseException as error:
            attempt.exit_code = _exit_code(error)
            raise
        finally:
            record(task.attempts, event=attempt.outcome, at=_now(), exit_code=attempt.exit_code, **common)
    finally:
        claim.release()


@contextlib.contextmanager
def renewing(claim: Claim) -> Iterator[None]:
    """Renew a claim from a thread while this process works on its task itself."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEW_S):
            claim.renew()

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _exit_code(error: BaseException) -> int:
    """What a process ends with after an exception."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_STOPPED
    if isinstance(error, OSError):
        return EXIT_ENVIRONMENT
    return error.exit_code if isinstance(error, NllgenError) else EXIT_CELLS_FAILED


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
