"""The queue of a supervisor's tasks: leased one by one if not done, not abandoned, and with enough time left."""

from __future__ import annotations

from collections.abc import Sequence

from nllgen.launch.attempt import record_vanished
from nllgen.launch.lease import Lease, LeaseManager
from nllgen.launch.retry_policy import DONE, FailureKind, exhausted_kind, needs_other_job
from nllgen.launch.slurm.job_env import Job
from nllgen.launch.tasks import longest_first, read_attempts, seconds_of
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.states import Expected, ResultState, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.storage.visibility import appears, is_seen

_FILE_SERVER_S = 30.0  # a directory that was listed again is seldom older


class TaskQueue:
    """The tasks of one supervisor.

    Args:
        study_dir: the frozen study.
        submission: submission that failures are charged to; a task that has no retries left under it is abandoned.
        job: the job that the supervisor runs in.
        names: names of its tasks; None for every task of the study.
        worker_config: how workers are started; decides which results count.
        reserve_s: seconds before the job's limit that are not for work.
    """

    def __init__(
        self,
        study_dir: StudyDir,
        submission: str,
        job: Job,
        names: Sequence[str] | None,
        worker_config: WorkerConfig,
        reserve_s: float,
    ):
        self._study_dir = study_dir
        self._submission = submission
        self._job = job
        self._container = worker_config.options.required_container
        self._leases = LeaseManager(job=job.id, restarts=job.restarts, cluster=job.cluster)
        self._study = study_dir.read_study()
        tasks = longest_first(tasks_of(self._study, study_dir), self._study)
        self._all = {task.name: task for task in tasks}
        mine = set(self._all if names is None else names)
        self._pending = {task.name: task for task in tasks if task.name in mine}
        self._estimated_s = seconds_of(self._study)
        self._time_ratio = 1.0  # measured to estimated seconds, of the last task that was done
        self._total_s = job.remaining_s - reserve_s
        self._reserve_s = reserve_s
        self._num_done = 0
        self._abandoned: dict[str, str] = {}  # name → reason
        self._lacks_time = False
        self._has_waited = False  # for files of other nodes
        self.outcomes: dict[str, str] = {}  # name → outcome of the last attempt of this supervisor

    @property
    def has_work(self) -> bool:
        """Return True if a task is left that this supervisor could still run."""
        return any(
            name not in self._abandoned and not self._is_blocked(name) and not is_seen(task.stop)
            for name, task in self._pending.items()
        )

    @property
    def should_wait(self) -> bool:
        """Return True if the rest is leased by others or needs tasks of others, and waiting for them costs nothing.

        A supervisor does not wait in an allocation: stages follow each other, and lost tasks are sent again.
        """
        return not self._job.is_scheduled and self.has_work

    def needs_appear(self) -> bool:
        """Wait some seconds, once, for files that tasks need and other nodes have published; True if they are there.

        The scheduler starts a job when what its tasks need is done. The file server may show it later.
        """
        if not self._job.is_scheduled or self._has_waited:
            return False
        waiting = [name for name in self._pending if name not in self._abandoned]
        needs = {need for name in waiting for need in self._all[name].needs if need not in self._pending}
        absent = [self._all[need] for need in needs if not self._is_complete(need)]
        if not absent:
            return False
        self._has_waited = True
        directories = [task.task_dir.path for task in absent]
        return appears(lambda: all(self._is_complete(task.name) for task in absent), directories, _FILE_SERVER_S)

    @property
    def needs_new_job(self) -> bool:
        """Return True if tasks are left only because this job has too little time, and a new job could run them."""
        return self._lacks_time and self._num_done > 0

    def lease_next(self) -> tuple[Task, Lease] | None:
        """Lease the first task that can run; None if there is none now."""
        self._lacks_time = False
        for task in list(self._pending.values()):
            if not self._can_run(task):
                continue
            lease = self._leases.take(task.lease)
            if lease is not None and self._can_run_under_lease(task, lease):
                return task, lease
        return None

    def note_end(self, name: str, outcome: str, seconds: float) -> None:
        """Note the outcome and duration of an attempt, and correct the estimated durations by it."""
        self.outcomes[name] = outcome
        if outcome == DONE:
            self._num_done += 1
            if self._estimated_s.get(name, 0.0) > 0:
                self._time_ratio = max(0.01, seconds / self._estimated_s[name])

    def failures(self) -> dict[str, str]:
        """Return name → reason of the tasks that will not be done under this submission."""
        blocked = {name: "what it needs is not there" for name in self._pending if self._is_blocked(name)}
        return blocked | self._abandoned

    def _can_run(self, task: Task) -> bool:
        """Check a task without its lease; drop it if it is done, and abandon it if it must not run."""
        if task.name in self._abandoned or not all(self._is_complete(need) for need in task.needs):
            return False
        if not self._is_to_run(task):
            return False
        kind = FailureKind.ASKED if is_seen(task.stop) else self._failure_without_retry(task)
        if kind is not None:
            self._abandoned[task.name] = str(kind)
            return False
        if not self._fits(task.name):
            self._lacks_time = True
            return False
        return True

    def _can_run_under_lease(self, task: Task, lease: Lease) -> bool:
        """Check again now that no other process works on a task; release the lease if it cannot run."""
        is_to_run = self._is_to_run(task)  # another process may have finished it before the lease was taken
        if is_to_run and (kind := self._record_lost_attempt(task)) is not None:
            self._abandoned[task.name] = str(kind)
            is_to_run = False
        if not is_to_run:
            lease.release()
        return is_to_run

    def _record_lost_attempt(self, task: Task) -> FailureKind | None:
        """Record the end of an attempt whose supervisor died; return its kind if it leaves no retry."""
        return self._failure_without_retry(task) if record_vanished(task, self._job.id) else None

    def _failure_without_retry(self, task: Task) -> FailureKind | None:
        lines = read_attempts(task.attempts)
        if needs_other_job(lines, self._job.id):
            return FailureKind.OUT_OF_MEMORY
        return exhausted_kind(lines, self._submission)

    def _state(self, task: Task) -> ResultState:
        """Return the state of a task's files; the truth, which decides what counts, may be published meanwhile."""
        return inspect(task, Expected.of(self._study, self._study_dir, self._container)).state

    def _is_to_run(self, task: Task) -> bool:
        """Return True if a task's result is missing; drop the task if it is done, abandon it if it cannot be read."""
        state = self._state(task)
        if state.is_done:
            self._pending.pop(task.name, None)
        elif not state.is_to_run:
            self._abandoned[task.name] = "its result cannot be read now"
        return state.is_to_run

    def _is_complete(self, name: str) -> bool:
        return name not in self._pending and self._state(self._all[name]).is_done

    def _is_blocked(self, name: str) -> bool:
        """Return True if a task needs one that will not be done under this submission."""
        for need in self._all[name].needs:
            if need in self._abandoned or (need not in self._pending and not self._is_complete(need)):
                return True
            if need in self._pending and self._is_blocked(need):
                return True
        return False

    def _fits(self, name: str) -> bool:
        """Return True if the job's time is enough for a task, or if it never could be: checkpoints carry it on."""
        needed_s = self._estimated_s.get(name, 0.0) * self._time_ratio
        return needed_s <= self._job.remaining_s - self._reserve_s or needed_s > self._total_s
