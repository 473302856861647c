"""Attempts on a task. Start and end are recorded, and the lease is held until the end is."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nllgen.errors import EXIT_CELLS_FAILED, EXIT_DONE, EXIT_ENVIRONMENT, EXIT_STOPPED, NllgenError
from nllgen.launch.lease import RENEW_S, Lease
from nllgen.launch.retry_policy import (
    DONE,
    FAILED,
    LOST,
    STARTED,
    STOPPED,
    FailureKind,
    failure_kind_of_exit,
    failure_kind_of_state,
    last_end,
    unfinished_start,
)
from nllgen.launch.slurm.ends import sacct_state
from nllgen.launch.tasks import read_attempts, record, require_attempts
from nllgen.storage.tasks import Task
from nllgen.storage.untrusted import parse_untrusted_json
from nllgen.study.untrusted_files import read_regular

_STOP_POLL_S = 1.0
_MAX_PROGRESS_BYTES = 1 << 20
_MAX_REASON = 200  # characters
_MAX_INT = 2**63
_STOPS = (FailureKind.TIMEOUT, FailureKind.PREEMPTED, FailureKind.ASKED)


@dataclass
class Attempt:
    """An attempt in progress."""

    task: Task
    lease: Lease  # held until the end is recorded
    submission: str  # submission that a failure is charged to
    name: str  # unique among the attempts of a study
    number: int  # number of attempts on this task, including this one
    # threads of torch. The task's first attempt sets them, because their number affects the result's bits.
    threads: int

    @classmethod
    def begin(
        cls, task: Task, lease: Lease, submission: str, *, threads: int = 1, job_facts: Mapping[str, Any] | None = None
    ) -> Attempt:
        """Record the start of an attempt, with facts about the scheduler's job.

        The threads are those of the first attempt. The lease is released if the start cannot be recorded.

        Raises:
            MachineError: earlier attempts cannot be read now, the disk is full, or the folder is read-only or gone.
        """
        try:
            starts = [line for line in require_attempts(task.attempts) if line.get("event") == STARTED]
            threads = next((line["threads"] for line in starts if isinstance(line.get("threads"), int)), threads)
            number = len(starts) + 1
            attempt = cls(task, lease, submission, f"{number}-{uuid.uuid4().hex[:8]}", number, threads)
            facts = {"host": os.uname().nodename, "pid": os.getpid(), "threads": threads, **(job_facts or {})}
            _record(task, STARTED, attempt.name, submission, facts)
        except BaseException:
            lease.release()
            raise
        return attempt

    def end(self, exit_code: int, kind: FailureKind | None, reason: str = "") -> str:
        """Record the end and release the lease, even if recording fails; return ``done``, ``stopped`` or ``failed``.

        No kind of failure means that the task is done. If another process took the lease over and recorded this attempt
        as lost, only a result is recorded.
        """
        event = DONE if kind is None else STOPPED if kind in _STOPS else FAILED
        facts: dict[str, Any] = {"exit_code": exit_code}
        if kind is not None:
            facts |= {"kind": str(kind), "reason": reason, "saved": saved_step(self.task)}
        try:
            if kind is None or self.lease.is_mine() or not self._has_end():
                _record(self.task, event, self.name, self.submission, facts)
        finally:
            self.lease.release()
        return event

    def _has_end(self) -> bool:
        lines = read_attempts(self.task.attempts)
        return any(line.get("attempt") == self.name and line.get("event") != STARTED for line in lines)


def _record(task: Task, event: str, attempt: object, submission: object, facts: Mapping[str, Any]) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record(task.attempts, event=event, at=now, attempt=attempt, submission=submission, **facts)


def saved_step(task: Task) -> int:
    """Return the last step that the worker reported as saved in a checkpoint; 0 if it reported none."""
    return int(progress_of(task).get("saved", 0))


def progress_of(task: Task) -> dict[str, Any]:
    """Return the worker's last progress report; empty if there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        progress = parse_untrusted_json(read_regular(task.task_dir.progress, _MAX_PROGRESS_BYTES))
        keys = ("done", "total", "saved")
        if isinstance(progress, dict) and all(isinstance(progress.get(key), int) for key in keys):
            return progress
    return {}


def measured_of(progress: Mapping[str, Any]) -> dict[str, float]:
    """Return the last evaluation of a progress report, column → finite value; empty where it has none."""
    values = progress.get("measured")
    items = values.items() if isinstance(values, dict) else ()
    return {name: float(value) for name, value in items if _is_number(value)}


def _is_number(value: object) -> bool:
    """Return True for a finite number; an integer that a received file makes too large for a float is none."""
    if type(value) is int:
        return abs(value) < _MAX_INT
    return type(value) is float and math.isfinite(value)


def record_lost(task: Task, kind: FailureKind, reason: str) -> None:
    """Record the end of an attempt that could not record its own. The caller holds the lease.

    Raises:
        MachineError: it cannot be written.
    """
    start = unfinished_start(read_attempts(task.attempts))
    if start is not None:
        facts = {"kind": str(kind), "reason": reason, "saved": saved_step(task)}
        _record(task, LOST, start.get("attempt"), start.get("submission"), facts)


def record_vanished(task: Task, current_job: str = "") -> bool:
    """Record the end of an attempt whose supervisor vanished, as the scheduler explains it; False if there is none.

    ``current_job`` is the job of this process, which may be the same job after a restart.

    Raises:
        MachineError: it cannot be written.
    """
    lines = read_attempts(task.attempts)
    start = unfinished_start(lines)
    if start is None or last_end(lines) is not None:
        return False
    job = str(start.get("job", ""))
    if state := sacct_state(start):
        record_lost(task, failure_kind_of_state(state), f"the scheduler says {state} of job {job}")
    elif job:
        again = "the scheduler has started its job anew" if job == current_job else "its job is gone"
        record_lost(task, FailureKind.LOST, again)
    else:
        record_lost(task, FailureKind.LOST, "its process is gone")
    return True


def record_lost_job(task: Task, submission: str, job: str, kind: FailureKind, reason: str) -> None:
    """Record a job that ended before it could record a start, as an attempt that was lost.

    Raises:
        MachineError: it cannot be written.
    """
    facts = {"job": job, "kind": str(kind), "reason": reason}
    _record(task, LOST, f"0-{uuid.uuid4().hex[:8]}", submission, facts)


@contextlib.contextmanager
def recorded_attempt(task: Task, lease: Lease, submission: str, threads: int = 1) -> Iterator[Attempt]:
    """Record an attempt that this process makes itself under a lease; it ends as the block ends.

    Raises:
        MachineError: the disk is full, or the folder is read-only or gone.
    """
    record_lost(task, FailureKind.LOST, "its process is gone")
    attempt = Attempt.begin(task, lease, submission, threads=threads)
    try:
        yield attempt
    except BaseException as error:
        code = _exit_code(error)
        kind = failure_kind_of_exit(code, "", out_of_memory=isinstance(error, MemoryError))
        attempt.end(code, kind, str(error)[:_MAX_REASON])
        raise
    attempt.end(EXIT_DONE, None)


def renewing(lease: Lease) -> AbstractContextManager[None]:
    """Renew a lease from a thread during a block."""
    return _every(RENEW_S, lease.renew)


def stopping(before: Mapping[Path, int], lease: Lease) -> AbstractContextManager[None]:
    """Send this process SIGTERM if a stop file is written during a block, or if the lease is taken over.

    The times of the stop files at the start tell an older stop, which was meant for an earlier run.
    """

    def poll() -> None:
        if lease.is_lost() or any(modified_ns(path) not in (0, then) for path, then in before.items()):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    return _every(_STOP_POLL_S, poll)


def modified_ns(path: Path) -> int:
    """Return a file's time of modification by its file system's clock; 0 if it does not exist."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@contextlib.contextmanager
def _every(seconds: float, call: Callable[[], object]) -> Iterator[None]:
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.wait(seconds):
            call()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return EXIT_STOPPED
    if isinstance(error, OSError):
        return EXIT_ENVIRONMENT
    return error.exit_code if isinstance(error, NllgenError) else EXIT_CELLS_FAILED
