"""The host's part of a job: lease tasks and let workers run them, several at once if asked to. No torch.

The supervisor is submitit's callable. On a node it runs outside the container and its workers inside. Only the
supervisor receives the scheduler's signals; it asks its workers to stop, waits for their checkpoints and requeues the
job.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from dataclasses import dataclass, field
from pathlib import Path

from submitit import JobEnvironment
from submitit.helpers import DelayedSubmission

from nllgen.errors import CellsFailedError, MachineError
from nllgen.launch.gpus import Gpu
from nllgen.launch.retry_policy import FailureKind
from nllgen.launch.slurm.early_ends import record_supervisor_error
from nllgen.launch.slurm.ends import sacct_state
from nllgen.launch.slurm.job_env import Job, MemoryKills, Signals
from nllgen.launch.task_queue import TaskQueue
from nllgen.launch.worker_process import WorkerConfig
from nllgen.launch.worker_slot import WorkerSlot
from nllgen.storage.provenance import check_code
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.visibility import appears, is_seen

_POLL_S = 0.5
_IDLE_S = 0.2  # all that is left waits for others
_GRACE_S = 20.0  # time that Slurm usually leaves between TERM and KILL
_STOP_S = 600.0  # an evaluation may be in progress when a user asks to stop
_MAX_EMPTY_STARTS = 3  # restarts of a job that never starts a task: its time may be too short for any
_MAX_FAILURES_SHOWN = 5
_FILE_SERVER_S = 5.0  # a study whose file is not there for so long was removed


@dataclass
class Supervisor:
    """Runs tasks until none is left that it could run."""

    study_dir: Path
    submission: str  # submission that failures are charged to
    worker_config: WorkerConfig  # how workers are started
    threads: int = 1  # threads of each worker; 0 divides the job's processors among them
    at_once: int = 1  # number of tasks that run at the same time
    # names of the tasks of each array element; None for every task of the study
    elements: tuple[tuple[str, ...], ...] | None = None
    time_min: float | None = None  # requested time limit, minutes; None without one
    signal_s: float = 90.0  # seconds before the limit at which the scheduler was asked to send its signal
    gpus: tuple[Gpu, ...] = ()  # GPUs that submitit cannot assign; those of the job if empty
    _stop_kind: FailureKind | None = field(default=None, init=False)
    _has_started: bool = field(default=False, init=False)

    def __call__(self) -> dict[str, str]:
        """Run tasks; return name → outcome of the tasks that this supervisor ran.

        Raises:
            CellsFailedError: under Slurm, if a task failed for good, so that the job is not shown as completed.
            SystemExit: the job was requeued.
        """
        self._stop_kind, self._has_started = None, False  # it may have been pickled for a restart
        try:
            return self._run()
        except CellsFailedError:
            raise
        except Exception as error:
            record_supervisor_error(StudyDir(self.study_dir), error)
            raise

    def _run(self) -> dict[str, str]:
        job = Job.current(self.time_min)
        if job.clock_problem:
            print(f"nllgen: {job.clock_problem}", flush=True)
        signals = Signals(job, self.signal_s)
        study_dir = StudyDir(self.study_dir)
        study_dir.guard()
        check_code(self.worker_config.options.code_sha256)
        names = None if self.elements is None else self.elements[job.element % len(self.elements)]
        queue = TaskQueue(study_dir, self.submission, job, names, self.worker_config, self.signal_s)
        kills = MemoryKills()
        worker_slots = [self._worker_slot(number, job, study_dir, kills) for number in range(self.at_once)]
        try:
            self._work(queue, worker_slots, study_dir, signals)
        except Exception:
            self._stop_kind = FailureKind.SUPERVISOR  # of the attempts in progress
            raise
        finally:
            self._stop_workers(worker_slots, signals)
        if self._should_requeue(queue, job, signals) and not self._is_cancelled(study_dir, signals, job):
            signals.requeue()
        _forget_pickle(job)
        self._check_has_started(queue, job, signals, study_dir)
        return self._outcomes(queue, job)

    def checkpoint(self) -> DelayedSubmission:
        """Return what submitit requeues; all state is on the disk by then."""
        return DelayedSubmission(self)

    def _worker_slot(self, number: int, job: Job, study_dir: StudyDir, kills: MemoryKills) -> WorkerSlot:
        """Make a slot with its share of the job's processors and GPUs; it is bound only if the job itself is."""
        share = max(1, job.cpus // self.at_once)
        is_bound = job.is_scheduled and len(job.affinity) == job.cpus and self.at_once > 1
        cpus = job.affinity[number * share : (number + 1) * share] if is_bound else ()
        gpus = self.gpus or job.gpus
        if gpus and self.at_once > 1:
            gpus = (gpus[number % len(gpus)],)
        return WorkerSlot(study_dir, self.submission, self.worker_config, self.threads or share, cpus, gpus, job, kills)

    def _work(self, queue: TaskQueue, worker_slots: list[WorkerSlot], study_dir: StudyDir, signals: Signals) -> None:
        """Run tasks until a stop is asked for or there is nothing left to run or to wait for."""
        while not self._is_stopping(study_dir, signals):
            self._start_tasks(queue, worker_slots)
            busy = [worker_slot for worker_slot in worker_slots if not worker_slot.is_free]
            if busy:
                _wait_for_answers(busy)
                for worker_slot in busy:
                    if (ended := worker_slot.advance()) is not None:
                        queue.note_end(*ended)
            elif queue.should_wait:
                time.sleep(_IDLE_S)
            elif not queue.needs_appear():
                return

    def _start_tasks(self, queue: TaskQueue, worker_slots: list[WorkerSlot]) -> None:
        for worker_slot in worker_slots:
            if worker_slot.is_free and (leased := queue.lease_next()):
                self._has_started = True
                worker_slot.start(*leased)

    def _is_stopping(self, study_dir: StudyDir, signals: Signals) -> bool:
        """Check for a stop: the stop file, a study that was removed, a signal, or the end of the job's time."""
        if self._stop_kind is None and (is_seen(study_dir.stop) or _is_gone(study_dir)):
            signals.may_requeue = False
            self._stop_kind = FailureKind.ASKED
        if self._stop_kind is None:
            signals.check_time_limit()
            self._stop_kind = signals.kind
        return self._stop_kind is not None

    def _stop_workers(self, worker_slots: list[WorkerSlot], signals: Signals) -> None:
        """Ask all workers to save their state, then wait for each within one common deadline."""
        kind = self._stop_kind or FailureKind.ASKED
        patience_s = max(_GRACE_S, self.signal_s if signals.may_requeue else 0.0)
        if kind is FailureKind.ASKED:
            patience_s = _STOP_S
        for worker_slot in worker_slots:
            worker_slot.ask_to_stop()
        deadline = time.monotonic() + patience_s
        for worker_slot in worker_slots:
            worker_slot.close(kind, max(0.0, deadline - time.monotonic()))

    def _should_requeue(self, queue: TaskQueue, job: Job, signals: Signals) -> bool:
        """Return True if another start of this job would get further."""
        if not queue.has_work:
            return False
        makes_progress = self._has_started or job.restarts < _MAX_EMPTY_STARTS
        return queue.needs_new_job or (signals.may_requeue and makes_progress)

    def _check_has_started(self, queue: TaskQueue, job: Job, signals: Signals, study_dir: StudyDir) -> None:
        """Check that this job does not end for good without having had time for any task.

        Raises:
            MachineError: none of its starts could begin a task.
        """
        is_last = not self._has_started and job.restarts >= _MAX_EMPTY_STARTS
        if is_last and signals.may_requeue and queue.has_work and not is_seen(study_dir.stop):
            raise MachineError(
                f"no task could begin in {job.restarts + 1} starts of job {job.id}, whose time is over too soon",
                job.clock_problem or "ask for more time; or the clock of its node is ahead of Slurm's",
            )

    def _is_cancelled(self, study_dir: StudyDir, signals: Signals, job: Job) -> bool:
        """Check for a cancellation; only the scheduler can tell a scancel close to the time limit from the limit."""
        return is_seen(study_dir.stop) or (signals.is_ending and sacct_state(job.facts()).startswith("CANCELLED"))

    def _outcomes(self, queue: TaskQueue, job: Job) -> dict[str, str]:
        failures = queue.failures()
        if failures and job.is_scheduled:
            shown = "; ".join(f"{name}: {kind}" for name, kind in list(failures.items())[:_MAX_FAILURES_SHOWN])
            raise CellsFailedError(f"{len(failures)} failed: {shown}", f"see: nllgen status {self.study_dir}")
        return queue.outcomes


def _is_gone(study_dir: StudyDir) -> bool:
    """Return whether a study was removed; a file server that does not answer has removed nothing."""
    with contextlib.suppress(OSError):
        return not appears(lambda: study_dir.is_frozen, [study_dir.path], _FILE_SERVER_S)
    return False


def _forget_pickle(job: Job) -> None:
    """Remove the link by which this array element found the callable; its next start makes a new one."""
    if job.is_scheduled:
        with contextlib.suppress(OSError):
            link = JobEnvironment().paths.submitted_pickle
            if link.is_symlink():
                link.unlink()


def _wait_for_answers(worker_slots: list[WorkerSlot]) -> None:
    with selectors.DefaultSelector() as selector:
        for worker_slot in worker_slots:
            selector.register(worker_slot.fileno(), selectors.EVENT_READ)
        selector.select(_POLL_S)
