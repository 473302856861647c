"""Which task a supervisor takes next: leased, not done, not given up, and with time enough."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from nllgen.launch.attempt import record_lost
from nllgen.launch.lease import Lease, LeaseManager
from nllgen.launch.retry_policy import (
    FailureKind,
    Line,
    exhausted_kind,
    failure_kind_of_state,
    last_end,
    needs_other_job,
    unfinished_start,
)
from nllgen.launch.slurm.job_env import Job
from nllgen.launch.tasks import Task, is_done, longest_first, read_attempts, seconds_of, tasks_of
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir

_SACCT_S = 10.0


class TaskQueue:
    """The tasks of one supervisor.

    Args:
        folder: the frozen study.
        submission: name of the submission; what has failed for good under it is not tried again under it.
        job: that the supervisor runs in.
        names: of its tasks; None is every task of the study.
        setup: how workers are started; it says which results count.
        reserve_s: seconds before the job's limit that are not for work.
    """

    def __init__(
        self,
        folder: StudyDir,
        submission: str,
        job: Job,
        names: Sequence[str] | None,
        setup: WorkerConfig,
        reserve_s: float,
    ):
        self._folder = folder
        self._submission = submission
        self._job = job
        self._container = setup.container_sha256 if setup.strict_container else None
        self._leases = LeaseManager(job=job.id, restarts=job.restarts)
        self._study = folder.read_study()
        tasks = longest_first(tasks_of(self._study, folder), self._study)
        self._all = {task.name: task for task in tasks}
        mine = set(self._all if names is None else names)
        self._waiting = {task.name: task for task in tasks if task.name in mine}
        self._seconds = seconds_of(self._study)
        self._ratio = 1.0  # of what cells took to what they were estimated at, once one has been seen
        self._whole_s = job.remaining_s - reserve_s
        self._reserve_s = reserve_s
        self._num_ended = 0
        self._given_up: dict[str, FailureKind] = {}
        self._is_short = False
        self.outcomes: dict[str, str] = {}

    @property
    def is_open(self) -> bool:
        """Whether something is left that this supervisor could still do."""
        return any(
            name not in self._given_up and not self._is_lost(name) and not task.stop.exists()
            for name, task in self._waiting.items()
        )

    @property
    def should_wait(self) -> bool:
        """Whether waiting makes sense: something is another's, or waits for another's.

        Under a scheduler nobody waits in an allocation: stages follow each other, and another's death has it run anew.
        """
        return not self._job.is_scheduled and self.is_open

    @property
    def needs_fresh_time(self) -> bool:
        """Whether tasks are left only because the rest of this job is too short, and a new one would get further."""
        return self._is_short and self._num_ended > 0

    def lease_next(self) -> tuple[Task, Lease] | None:
        """Lease the first task that can run; those that are done by now are dropped."""
        self._is_short = False
        for name, task in list(self._waiting.items()):
            if name in self._given_up or any(not self._is_over(need) for need in task.needs):
                continue
            if self._is_done(task):
                continue
            if task.stop.exists():
                self._given_up[name] = FailureKind.ASKED
                continue
            if (kind := self._why_not_again(task)) is not None:
                self._given_up[name] = kind
                continue
            if not self._fits(name):
                self._is_short = True
                continue
            if (lease := self._leases.take(task.lease)) is None:
                continue
            if self._is_done(task):  # between the look and the lease
                lease.release()
                continue
            if self._was_lost_for_good(task, lease):
                continue
            return task, lease
        return None

    def ended(self, name: str, outcome: str, seconds: float) -> None:
        """Learn from an attempt that has ended."""
        self.outcomes[name] = outcome
        if outcome == "done":
            self._num_ended += 1
            if self._seconds.get(name, 0.0) > 0:
                self._ratio = max(0.01, seconds / self._seconds[name])

    def failures(self) -> dict[str, str]:
        """Tasks that will not be done under this submission, and why."""
        lost = {name: "what it needs is not there" for name in self._waiting if self._is_lost(name)}
        return lost | {name: str(kind) for name, kind in self._given_up.items()}

    def _why_not_again(self, task: Task) -> FailureKind | None:
        lines = read_attempts(task.attempts)
        if needs_other_job(lines, self._job.id):
            return FailureKind.OUT_OF_MEMORY
        return exhausted_kind(lines, self._submission)

    def _is_done(self, task: Task) -> bool:
        done = is_done(task, self._study, self._folder, self._container)
        if done:
            self._waiting.pop(task.name, None)
        return done

    def _is_over(self, name: str) -> bool:
        """Whether a task that others need is done; it may be another supervisor's."""
        task = self._all[name]
        return is_done(task, self._study, self._folder, self._container) if name not in self._waiting else False

    def _is_lost(self, name: str) -> bool:
        """Whether a task waits for one that will not be done under this submission."""
        for need in self._all[name].needs:
            if need in self._given_up or (need not in self._waiting and not self._is_over(need)):
                return True
            if need in self._waiting and self._is_lost(need):
                return True
        return False

    def _fits(self, name: str) -> bool:
        """A task that no job of this length could finish is begun all the same: it goes on from its checkpoint."""
        needed = self._seconds.get(name, 0.0) * self._ratio
        return needed <= self._job.remaining_s - self._reserve_s or needed > self._whole_s

    def _was_lost_for_good(self, task: Task, lease: Lease) -> bool:
        """Give the attempt before an end if it has none: its supervisor died, and its lease was stale."""
        lines = read_attempts(task.attempts)
        start = unfinished_start(lines)
        if start is None or last_end(lines) is not None:
            return False
        kind, reason = _what_became_of(start, self._job)
        record_lost(task, kind, reason)
        kind_given_up = self._why_not_again(task)
        if kind_given_up is not None:
            self._given_up[task.name] = kind_given_up
            lease.release()
        return kind_given_up is not None


def _what_became_of(start: Line, mine: Job) -> tuple[FailureKind, str]:
    """Why a supervisor vanished, as far as the scheduler remembers; it is a hint and may be empty."""
    job = str(start.get("job", ""))
    if not job:
        return FailureKind.LOST, "its process is gone"
    state = sacct_state(start)
    if state:
        return failure_kind_of_state(state), f"the scheduler says {state} of job {job}"
    again = "the scheduler has started its job anew" if job == mine.id else "its job is gone"
    return FailureKind.LOST, again


def sacct_state(start: Line) -> str:
    """The state in which sacct saw the job of an attempt end; empty where it has not, or sacct does not answer.

    A job that was requeued has a line for each time that it ran, and only one of them is this attempt's.

    Args:
        start: of the attempt.
    """
    job, restarts = str(start.get("job", "")), start.get("restarts", 0)
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--duplicates", f"--jobs={job}", "--format=State"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SACCT_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return ""
    states = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0 or not isinstance(restarts, int) or not 0 <= restarts < len(states):
        return ""
    is_over = states[restarts].split()[0] not in ("RUNNING", "PENDING", "COMPLETING", "RESIZING")
    return states[restarts] if is_over else ""
