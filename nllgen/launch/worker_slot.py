"""A worker slot of a job: it runs one task at a time, in a worker process that is kept for the next task."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nllgen.errors import EXIT_CELLS_FAILED, EXIT_DONE, EXIT_STOPPED
from nllgen.launch.attempt import Attempt
from nllgen.launch.gpus import Gpu
from nllgen.launch.lease import RENEW_S, Lease
from nllgen.launch.retry_policy import FailureKind, failure_kind_of_exit
from nllgen.launch.slurm.job_env import Job, MemoryKills, peak_memory_bytes
from nllgen.launch.worker_process import WorkerConfig, WorkerProcess
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task
from nllgen.storage.visibility import is_seen
from nllgen.study.run_options import TaskAnswer, TaskOrder

_POLL_S = 0.05
_MONITOR_S = 2.0
_LAST_WORDS_S = 5.0
_STOPPED_EXITS = (EXIT_STOPPED, -signal.SIGKILL, -signal.SIGTERM)
_KILLED_EXITS = (-signal.SIGKILL, 128 + signal.SIGKILL)


class EndedAttempt(NamedTuple):
    """An attempt that has ended."""

    task: str
    outcome: str  # done, stopped or failed
    seconds: float


@dataclass
class WorkerSlot:
    """Runs attempts one after another."""

    study_dir: StudyDir
    submission: str  # submission that failures are charged to
    worker_config: WorkerConfig  # how workers are started
    threads: int
    cpus: Sequence[int]  # processors that the worker is bound to; empty if it is not bound
    gpus: Sequence[Gpu]
    job: Job  # job that the slot belongs to
    kills: MemoryKills  # memory kills of the job, shared by its slots
    _worker: WorkerProcess | None = field(default=None, init=False)
    _attempt: Attempt | None = field(default=None, init=False)
    _started_at: float = field(default=0.0, init=False)
    _renewed_at: float = field(default=0.0, init=False)
    _monitored_at: float = field(default=0.0, init=False)
    _peak_bytes: int = field(default=0, init=False)
    _is_superseded: bool = field(default=False, init=False)
    _is_cancelling: bool = field(default=False, init=False)

    @property
    def is_free(self) -> bool:
        """Return True if the slot can take a task."""
        return self._attempt is None

    def fileno(self) -> int:
        """Return the descriptor that is readable when the worker has answered or ended."""
        assert self._worker is not None
        return self._worker.fileno()

    def start(self, task: Task, lease: Lease) -> None:
        """Begin an attempt.

        Raises:
            NllgenError: it cannot be recorded, or the worker cannot be started; the lease is released.
        """
        attempt = Attempt.begin(task, lease, self.submission, threads=self.threads, job_facts=self.job.facts())
        self._attempt = attempt
        self._started_at = self._renewed_at = time.monotonic()
        self._peak_bytes, self._is_superseded, self._is_cancelling = 0, False, False
        try:
            if self._worker is None:
                command, variables = self.worker_config.command(self.study_dir.path, self.threads, self.gpus)
                self._worker = WorkerProcess(command, variables, task.log, self.cpus)
        except Exception as error:
            self._finish(getattr(error, "exit_code", 3), FailureKind.ENVIRONMENT, str(error)[:200])
            raise
        log = str(task.log.absolute())
        self._worker.order(TaskOrder(task.name, attempt.name, attempt.number, attempt.threads, log))

    def advance(self) -> EndedAttempt | None:
        """Monitor the worker; finish the attempt and return it if it has ended."""
        assert self._worker is not None
        assert self._attempt is not None
        self._monitor(self._worker, self._attempt)
        end = _poll(self._worker)
        if end is None:
            return None
        if end.exit_code != EXIT_DONE or self._is_cancelling or self._is_superseded:
            self._close_worker(self._worker)  # one that failed or was asked to stop takes no further task
        kind = self._kind(end)
        if self._is_superseded and kind is not None:
            other = "job" if self.job.is_scheduled else "supervisor"
            return self._finish(end.exit_code, FailureKind.LOST, f"another {other} has taken it over")
        return self._finish(end.exit_code, kind, end.reason)

    def ask_to_stop(self) -> None:
        """Ask the worker to save its state and end."""
        if self._worker is not None:
            self._worker.ask_to_stop()

    def close(self, kind: FailureKind, patience_s: float) -> None:
        """End the worker, which is killed if it does not stop in time, and the attempt in progress for a reason."""
        if self._worker is None:
            return
        worker, attempt = self._worker, self._attempt
        if attempt is None:
            self._close_worker(worker)
            return
        answer = self._wait_for_answer(worker, attempt, patience_s)
        is_too_slow = answer is None and worker.process.poll() is None
        if is_too_slow:
            worker.process.kill()
            worker.process.wait()
        self._close_worker(worker)
        # a worker that ends well without an answer was asked to stop before it had begun
        end = answer or TaskAnswer(worker.process.returncode or EXIT_STOPPED)
        ended_by = kind if is_too_slow else self._kind(end)
        if end.exit_code in _STOPPED_EXITS and ended_by is not FailureKind.OUT_OF_MEMORY:
            self._finish(end.exit_code, FailureKind.ASKED if self._is_cancelled(attempt) else kind)
        else:
            self._finish(end.exit_code, ended_by, end.reason)

    def _wait_for_answer(self, worker: WorkerProcess, attempt: Attempt, patience_s: float) -> TaskAnswer | None:
        """Wait until the worker answers or ends, or patience runs out; return its answer if there is one."""
        deadline = time.monotonic() + patience_s
        while True:
            # checked before the answer is read: a worker may answer and end in between
            is_over = worker.process.poll() is not None or time.monotonic() > deadline
            self._monitor(worker, attempt)
            if (answer := worker.answer()) is not None:
                return answer
            if is_over:
                return None
            time.sleep(_POLL_S)

    def _close_worker(self, worker: WorkerProcess) -> None:
        worker.close(_LAST_WORDS_S)
        self._worker = None

    def _monitor(self, worker: WorkerProcess, attempt: Attempt) -> None:
        """Measure memory, look for a stop file and renew the lease, each at its own interval."""
        now = time.monotonic()
        if now - self._monitored_at > _MONITOR_S:
            self._monitored_at = now
            self._peak_bytes = max(self._peak_bytes, peak_memory_bytes(worker.process.pid))
            if not self._is_cancelling and is_seen(attempt.task.stop):
                self._is_cancelling = True  # other tasks of this job continue
                self.ask_to_stop()
        if now - self._renewed_at > RENEW_S:
            self._renewed_at = now
            if not attempt.lease.renew() and attempt.lease.is_lost():
                self._is_superseded = True
                self.ask_to_stop()

    def _is_cancelled(self, attempt: Attempt) -> bool:
        """Return True if a user cancelled the task or the study, although the scheduler may have ended the job."""
        return is_seen(attempt.task.stop) or is_seen(self.study_dir.stop)

    def _kind(self, end: TaskAnswer) -> FailureKind | None:
        is_near_limit = self._peak_bytes > 0.9 * self.job.memory_bytes > 0
        is_out_of_memory = end.exit_code in _KILLED_EXITS and (self.kills.take() or is_near_limit)
        return failure_kind_of_exit(end.exit_code, end.reason, out_of_memory=is_out_of_memory)

    def _finish(self, code: int, kind: FailureKind | None, reason: str = "") -> EndedAttempt:
        assert self._attempt is not None
        attempt, self._attempt = self._attempt, None
        seconds = time.monotonic() - self._started_at
        return EndedAttempt(attempt.task.name, attempt.end(code, kind, reason), seconds)


def _poll(worker: WorkerProcess) -> TaskAnswer | None:
    returncode = worker.process.poll()  # before the answer is read: a worker may answer and end in between
    if (answer := worker.answer()) is not None:
        return answer
    if returncode == EXIT_DONE:
        return TaskAnswer(EXIT_CELLS_FAILED, "the worker ended without an answer")
    return None if returncode is None else TaskAnswer(returncode)
