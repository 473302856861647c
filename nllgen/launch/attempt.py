"""One attempt on a task: recorded from its start to its end, under a lease that is let go only then."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nllgen.errors import EXIT_CELLS_FAILED, EXIT_ENVIRONMENT, EXIT_STOPPED, NllgenError
from nllgen.launch.lease import RENEW_S, Lease
from nllgen.launch.retry_policy import (
    DONE,
    FAILED,
    LOST,
    STARTED,
    STOPPED,
    FailureKind,
    failure_kind_of_exit,
    unfinished_start,
)
from nllgen.launch.tasks import Task, read_attempts, record
from nllgen.storage.untrusted import parse_untrusted_json, read_regular

_LOOK_S = 1.0
_PROGRESS_BYTES = 1 << 20
_STOPS = (FailureKind.TIMEOUT, FailureKind.PREEMPTED, FailureKind.ASKED)


@dataclass
class Attempt:
    """An attempt that is under way.

    Attributes:
        task: what is run.
        lease: held until the end is recorded.
        submission: name of the submission that it belongs to.
        name: unique among those of the study.
        number: of attempts on this task, this one included.
        threads: of torch, as in the task's first attempt: their number decides the bits.
    """

    task: Task
    lease: Lease
    submission: str
    name: str
    number: int
    threads: int

    @classmethod
    def begin(cls, task: Task, lease: Lease, submission: str, *, threads: int = 1, **more: Any) -> Attempt:
        """Record a start.

        Args:
            task: what is run.
            lease: held by the caller; let go where nothing can be recorded.
            submission: name of the submission.
            threads: that this attempt would have if it were the first.
            more: further facts, such as the job.

        Raises:
            MachineError: the disk is full, the folder read-only or gone.
        """
        try:
            starts = [line for line in read_attempts(task.attempts) if line.get("event") == STARTED]
            threads = next((line["threads"] for line in starts if isinstance(line.get("threads"), int)), threads)
            number = len(starts) + 1
            attempt = cls(task, lease, submission, f"{number}-{uuid.uuid4().hex[:8]}", number, threads)
            attempt._record(STARTED, host=os.uname().nodename, pid=os.getpid(), threads=threads, **more)
        except BaseException:
            lease.release()
            raise
        return attempt

    def end(self, exit_code: int, kind: FailureKind | None, reason: str = "") -> str:
        """Record the end and let the lease go, whatever happens.

        One that was taken for lost, by whoever took its lease over, has an end already; a result is told all the same.

        Args:
            exit_code: of the worker.
            kind: why it ended; None where it is done.
            reason: in words.

        Returns:
            ``done``, ``stopped`` or ``failed``.
        """
        event = DONE if kind is None else STOPPED if kind in _STOPS else FAILED
        facts: dict[str, Any] = {"exit_code": exit_code}
        if kind is not None:
            facts |= {"kind": str(kind), "reason": reason, "saved": saved_step(self.task)}
        try:
            if kind is None or self.lease.is_mine() or not self._has_end():
                self._record(event, **facts)
        finally:
            self.lease.release()
        return event

    def _has_end(self) -> bool:
        lines = read_attempts(self.task.attempts)
        return any(line.get("attempt") == self.name and line.get("event") != STARTED for line in lines)

    def _record(self, event: str, **facts: Any) -> None:
        who = {"attempt": self.name, "submission": self.submission}
        record(self.task.attempts, event=event, at=_now(), **who, **facts)


def saved_step(task: Task) -> int:
    """Steps that are safe in a checkpoint, as the worker last said; 0 where it said nothing."""
    return int(progress_of(task).get("saved", 0))


def progress_of(task: Task) -> dict[str, Any]:
    """What a worker last said of how far it is; empty where it said nothing that can be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = parse_untrusted_json(read_regular(task.task_dir.progress, _PROGRESS_BYTES))
        if isinstance(found, dict) and all(isinstance(found.get(key), int) for key in ("done", "total", "saved")):
            return found
    return {}


def record_lost(task: Task, kind: FailureKind, reason: str) -> None:
    """Give an end to an attempt that could not record its own. Whoever holds the lease now says so.

    Raises:
        MachineError: it cannot be written.
    """
    start = unfinished_start(read_attempts(task.attempts))
    if start is not None:
        who = {"attempt": start.get("attempt"), "submission": start.get("submission")}
        what = {"kind": str(kind), "reason": reason, "saved": saved_step(task)}
        record(task.attempts, event=LOST, at=_now(), **who, **what)


def record_lost_job(task: Task, submission: str, job: str) -> None:
    """Note a job that is gone and has left no word: an attempt that was lost before its start.

    Raises:
        MachineError: it cannot be written.
    """
    who = {"attempt": f"0-{uuid.uuid4().hex[:8]}", "submission": submission, "job": job}
    record(
        task.attempts,
        event=LOST,
        at=_now(),
        **who,
        kind=str(FailureKind.LOST),
        reason="its job ended before it had begun",
    )


@contextlib.contextmanager
def recorded_attempt(task: Task, lease: Lease, submission: str, threads: int = 1) -> Iterator[Attempt]:
    """An attempt that this process makes itself: its end is what the block ends with.

    Args:
        task: what is run.
        lease: held by the caller.
        submission: name of the submission.
        threads: that it would have if it were the first.

    Raises:
        MachineError: the disk is full, the folder read-only or gone.
    """
    record_lost(task, FailureKind.LOST, "its process is gone")
    attempt = Attempt.begin(task, lease, submission, threads=threads)
    try:
        yield attempt
    except BaseException as error:
        code = _exit_code(error)
        attempt.end(
            code, failure_kind_of_exit(code, "", out_of_memory=isinstance(error, MemoryError)), str(error)[:200]
        )
        raise
    attempt.end(0, None)


@contextlib.contextmanager
def renewing(lease: Lease) -> Iterator[None]:
    """Renew a lease from a thread while this process does what it stands for itself."""
    with _every(RENEW_S, lease.renew):
        yield


@contextlib.contextmanager
def stopping(before: Mapping[Path, int], lease: Lease) -> Iterator[None]:
    """Ask this process to stop, by SIGTERM, when one of these files is made or touched or its lease is another's.

    Args:
        before: file → :func:`touched` when the command began: what was there already was for what ran before.
        lease: held by this process.
    """

    def query() -> None:
        if lease.is_lost() or any(touched(path) not in (0, then) for path, then in before.items()):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    with _every(_LOOK_S, query):
        yield


def touched(path: Path) -> int:
    """When a file was made or touched last, by its file system's clock; 0 where it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@contextlib.contextmanager
def _every(seconds: float, do: Callable[[], object]) -> Iterator[None]:
    """Do something again and again in a thread."""
    over = threading.Event()

    def again() -> None:
        while not over.wait(seconds):
            do()

    thread = threading.Thread(target=again, daemon=True)
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
