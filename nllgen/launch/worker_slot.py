"""One place in a job where one task runs at a time, in a worker that stays warm."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from nllgen.errors import EXIT_DONE, EXIT_STOPPED
from nllgen.launch.attempt import Attempt
from nllgen.launch.lease import RENEW_S, Lease
from nllgen.launch.retry_policy import FailureKind, failure_kind_of_exit
from nllgen.launch.slurm.job_env import Job, MemoryKills, peak_memory_bytes
from nllgen.launch.worker_process import WorkerConfig, WorkerProcess
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task
from nllgen.study.run_options import TaskOrder

_POLL_S = 0.05
_MEMORY_EVERY_S = 2.0
_LAST_WORDS_S = 5.0


@dataclass
class WorkerSlot:
    """Runs attempts one after another.

    Attributes:
        study_dir: the frozen study.
        submission: name of the submission.
        setup: how workers are started.
        threads: of the worker.
        cpus, gpus: that the worker gets; without processors it is not bound to any.
        job: that it is a part of.
        kills: of the job, for memory; shared by its slots.
    """

    study_dir: StudyDir
    submission: str
    setup: WorkerConfig
    threads: int
    cpus: Sequence[int]
    gpus: Sequence[int]
    job: Job
    kills: MemoryKills
    ended_task: str = ""
    ended_seconds: float = 0.0
    _worker: WorkerProcess | None = field(default=None, init=False)
    _attempt: Attempt | None = field(default=None, init=False)
    _started: float = field(default=0.0, init=False)
    _renewed: float = field(default=0.0, init=False)
    _looked: float = field(default=0.0, init=False)
    _peak: int = field(default=0, init=False)
    _superseded: bool = field(default=False, init=False)
    _is_asked: bool = field(default=False, init=False)

    @property
    def is_free(self) -> bool:
        """Whether it could take a task."""
        return self._attempt is None

    def fileno(self) -> int:
        """Readable when there is something to hear."""
        assert self._worker is not None
        return self._worker.fileno()

    def start(self, task: Task, lease: Lease) -> None:
        """Begin an attempt.

        Raises:
            NllgenError: it cannot be recorded, or the worker cannot be started; the lease is let go.
        """
        attempt = Attempt.begin(task, lease, self.submission, threads=self.threads, **self.job.facts())
        self._attempt = attempt
        self._started = self._renewed = time.monotonic()
        self._peak, self._superseded, self._is_asked = 0, False, False
        try:
            if self._worker is None:
                command, variables = self.setup.command(self.study_dir.path, self.threads, self.gpus)
                self._worker = WorkerProcess(command, variables, task.log, self.cpus)
        except Exception as error:
            self._finish(getattr(error, "exit_code", 3), FailureKind.ENVIRONMENT, str(error)[:200])
            raise
        log = str(task.log.absolute())
        self._worker.order(TaskOrder(task.name, attempt.name, attempt.number, attempt.threads, log))

    def advance(self) -> str | None:
        """Look after the worker.

        Returns:
            ``done``, ``stopped`` or ``failed`` if the attempt has ended, else None.
        """
        assert self._worker is not None
        assert self._attempt is not None
        self._keep_lease(self._attempt)
        # in this order: what it said before it ended is heard
        ended = self._worker.process.poll()
        answer = self._worker.answer()
        if answer is None and ended is None:
            return None
        code, reason = (answer.exit_code, answer.reason) if answer else (ended or 0, "")
        if answer is None and ended == EXIT_DONE:
            code, reason = 1, "the worker ended without an answer"
        if code != EXIT_DONE or self._is_asked or self._superseded:  # one that was asked to stop takes no more orders
            self._worker.close(_LAST_WORDS_S)  # the next task gets a process without a past
            self._worker = None
        kind = self._kind(code, reason)
        if self._superseded and kind is not None:
            kind, reason = FailureKind.LOST, "another supervisor has taken it over"
        return self._finish(code, kind, reason)

    def ask_to_stop(self) -> None:
        """Have the worker save its state and end."""
        if self._worker is not None:
            self._worker.ask_to_stop()

    def close(self, kind: FailureKind, patience_s: float) -> None:
        """End the worker, and an attempt that is under way: it was stopped for the reason ``kind``."""
        if self._worker is None:
            return
        worker, answer = self._worker, None
        give_up = time.monotonic() + patience_s
        while self._attempt is not None and answer is None:
            ended = worker.process.poll() is not None or time.monotonic() > give_up
            self._keep_lease(self._attempt)
            answer = worker.answer()
            if ended:
                break
            time.sleep(_POLL_S)
        too_slow = self._attempt is not None and answer is None and worker.process.poll() is None
        if too_slow:
            worker.process.kill()
            worker.process.wait()
        worker.close(_LAST_WORDS_S)
        self._worker = None
        if self._attempt is not None:
            # one that ended well without an answer was asked to stop before it had begun
            code = answer.exit_code if answer else worker.process.returncode or EXIT_STOPPED
            reason = answer.reason if answer else ""
            found = kind if too_slow else self._kind(code, reason)
            if code in (EXIT_STOPPED, -signal.SIGKILL, -signal.SIGTERM) and found is not FailureKind.OUT_OF_MEMORY:
                found, reason = (FailureKind.ASKED if self._is_cancelled(self._attempt) else kind), ""
            self._finish(code, found, reason)

    def _keep_lease(self, attempt: Attempt) -> None:
        """Renew it now and then; where another has taken it over, the worker's time is better spent elsewhere."""
        now = time.monotonic()
        if now - self._looked > _MEMORY_EVERY_S and self._worker is not None:
            self._looked = now
            self._peak = max(self._peak, peak_memory_bytes(self._worker.process.pid))
            if not self._is_asked and attempt.task.stop.exists():
                self._is_asked = True  # others in this job go on
                self.ask_to_stop()
        if now - self._renewed > RENEW_S:
            self._renewed = now
            if not attempt.lease.renew() and attempt.lease.is_lost():
                self._superseded = True
                self.ask_to_stop()

    def _is_cancelled(self, attempt: Attempt) -> bool:
        """Whether somebody asked for the end that the scheduler may have brought about: it is not to come back."""
        return attempt.task.stop.exists() or self.study_dir.stop.exists()

    def _kind(self, code: int, reason: str) -> FailureKind | None:
        killed = code in (-9, 137) and (self.kills.take() or self._is_at_its_limit())
        return failure_kind_of_exit(code, reason, out_of_memory=killed)

    def _is_at_its_limit(self) -> bool:
        """Whether the worker was last seen close to what the job may use."""
        limit = self.job.memory_bytes
        return limit > 0 and self._peak > 0.9 * limit

    def _finish(self, code: int, kind: FailureKind | None, reason: str = "") -> str:
        assert self._attempt is not None
        attempt, self._attempt = self._attempt, None
        self.ended_task, self.ended_seconds = attempt.task.name, time.monotonic() - self._started
        return attempt.end(code, kind, reason)
