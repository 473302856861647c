"""The host's part of a job: leases tasks and has workers run them, several at once where it is told to. No torch.

submitit's callable. On a node it runs outside the container, and its workers inside; it alone hears the scheduler's
signals, asks its workers to stop, waits for their checkpoints and has the job requeued.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from submitit import JobEnvironment
from submitit.helpers import DelayedSubmission

from nllgen.errors import CellsFailedError
from nllgen.launch.retry_policy import FailureKind
from nllgen.launch.slurm.commands import sacct_state
from nllgen.launch.slurm.job_env import Job, MemoryKills, Signals
from nllgen.launch.task_queue import TaskQueue
from nllgen.launch.worker_process import WorkerConfig
from nllgen.launch.worker_slot import WorkerSlot
from nllgen.storage.provenance import check_code
from nllgen.storage.study_dir import StudyDir

_POLL_S = 0.5
_IDLE_S = 0.2  # nothing of its own to do: what is left waits for others
_GRACE_S = 20.0  # a supervisor that was told to stop by TERM has about this long
_EMPTY_STARTS = 3  # a job that has begun nothing is started so often again: its time may be too short for anything
_STOP_S = 600.0  # an evaluation may be under way when a stop is asked for


@dataclass
class Supervisor:
    """Works until no task is left that it could run.

    Attributes:
        study_dir: a frozen study.
        submission: name of the submission; failures are counted under it.
        setup: how workers are started.
        threads: of each worker; 0 shares out the job's processors.
        at_once: tasks that run at the same time.
        elements: names of the tasks of each array element; None is every task of the study, for whoever comes first.
        time_min: the limit that was asked for, minutes; None where there is none.
        signal_s: how long before the limit the scheduler's signal was asked for.
    """

    study_dir: Path
    submission: str
    setup: WorkerConfig
    threads: int = 1
    at_once: int = 1
    elements: tuple[tuple[str, ...], ...] | None = None
    time_min: float | None = None
    signal_s: float = 90.0
    _stopping: FailureKind | None = field(default=None, init=False)
    _has_begun: bool = field(default=False, init=False)

    def __call__(self) -> dict[str, str]:
        """Run tasks; returns name → outcome of those that this supervisor ran.

        Raises:
            CellsFailedError: under Slurm, if any failed for good: a job with failures is not shown as completed.
            SystemExit: it was requeued.
        """
        self._stopping, self._has_begun = None, False  # also where it was pickled for another start
        job = Job.here(self.time_min)
        signals = Signals(job, self.signal_s)
        folder = StudyDir(self.study_dir)
        folder.guard()
        check_code(self.setup.options.code_sha256)
        queue = TaskQueue(folder, self.submission, job, self._names(job), self.setup, self.signal_s)
        kills = MemoryKills()
        worker_slots = [self._slot(number, job, folder, kills) for number in range(self.at_once)]
        try:
            self._work(queue, worker_slots, folder, signals)
        finally:
            self._end(worker_slots, signals)
        again = signals.may_requeue and (self._has_begun or job.restarts < _EMPTY_STARTS)
        if (again or queue.needs_fresh_time) and queue.is_open and not self._is_cancelled(folder, signals, job):
            signals.requeue()
        _forget_pickle(job)
        return self._outcome(queue, job)

    def checkpoint(self) -> DelayedSubmission:
        """submitit asks for this by name before it requeues; everything is on the disk by then."""
        return DelayedSubmission(self)

    def _names(self, job: Job) -> tuple[str, ...] | None:
        if self.elements is None:
            return None
        return self.elements[job.element % len(self.elements)]

    def _slot(self, number: int, job: Job, folder: StudyDir, kills: MemoryKills) -> WorkerSlot:
        """Its share of the processors and GPUs; bound to it only where the scheduler has bound the job."""
        share = max(1, job.cpus // self.at_once)
        bound = job.is_scheduled and len(job.affinity) == job.cpus and self.at_once > 1
        cpus = job.affinity[number * share : (number + 1) * share] if bound else ()
        gpus = job.gpus[number % len(job.gpus) :][:1] if job.gpus else ()
        if self.at_once == 1:
            gpus = job.gpus
        return WorkerSlot(folder, self.submission, self.setup, self.threads or share, cpus, gpus, job, kills)

    def _work(self, queue: TaskQueue, worker_slots: list[WorkerSlot], folder: StudyDir, signals: Signals) -> None:
        while True:
            if self._is_asked_to_stop(folder, signals):
                return
            for worker_slot in worker_slots:
                if worker_slot.is_free and (leased := queue.lease_next()):
                    self._has_begun = True
                    worker_slot.start(*leased)
            if all(worker_slot.is_free for worker_slot in worker_slots):
                if not queue.should_wait:
                    return
                time.sleep(_IDLE_S)
                continue
            for worker_slot in _ready(worker_slots):
                if (outcome := worker_slot.advance()) is not None:
                    queue.ended(worker_slot.ended_task, outcome, worker_slot.ended_seconds)

    def _is_asked_to_stop(self, folder: StudyDir, signals: Signals) -> bool:
        """By a signal, by the stop file, or because the study was taken away."""
        if self._stopping is None and (folder.stop.exists() or not folder.is_frozen):
            signals.may_requeue = False
            self._stopping = FailureKind.ASKED
        if self._stopping is None:
            signals.look_at_the_clock()
            self._stopping = signals.kind
        return self._stopping is not None

    def _end(self, worker_slots: list[WorkerSlot], signals: Signals) -> None:
        """Let every worker save its state and end; all at once, since each may take its time."""
        kind = self._stopping or FailureKind.ASKED
        patience = _STOP_S if kind is FailureKind.ASKED else max(_GRACE_S, self.signal_s if signals.may_requeue else 0)
        for worker_slot in worker_slots:
            worker_slot.ask_to_stop()
        give_up = time.monotonic() + patience
        for worker_slot in worker_slots:
            worker_slot.close(kind, max(0.0, give_up - time.monotonic()))

    def _is_cancelled(self, folder: StudyDir, signals: Signals, job: Job) -> bool:
        """Also by a scancel within seconds of the limit, which is told from it by the scheduler alone."""
        return folder.stop.exists() or (signals.is_ending and sacct_state(job.facts()).startswith("CANCELLED"))

    def _outcome(self, queue: TaskQueue, job: Job) -> dict[str, str]:
        failed = queue.failures()
        if failed and job.is_scheduled:
            told = "; ".join(f"{name}: {kind}" for name, kind in list(failed.items())[:5])
            raise CellsFailedError(f"{len(failed)} failed: {told}", f"see: nllgen status {self.study_dir}")
        return queue.outcomes


def _forget_pickle(job: Job) -> None:
    """Remove the link by which this element found the callable: a start to come makes it anew."""
    if job.is_scheduled:
        with contextlib.suppress(OSError):
            link = JobEnvironment().paths.submitted_pickle
            if link.is_symlink():
                link.unlink()


def _ready(worker_slots: list[WorkerSlot]) -> Iterator[WorkerSlot]:
    """Slots whose worker has said something or ended, or all of them after a while."""
    busy = [worker_slot for worker_slot in worker_slots if not worker_slot.is_free]
    with selectors.DefaultSelector() as selector:
        for worker_slot in busy:
            selector.register(worker_slot.fileno(), selectors.EVENT_READ)
        selector.select(_POLL_S)
    yield from busy
