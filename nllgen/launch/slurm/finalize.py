"""The last stage of a submission: retry tasks whose failure allows it, or else write study.h5."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from submitit.helpers import DelayedSubmission

from nllgen.errors import CellsFailedError
from nllgen.launch.attempt import record_lost_job, record_vanished
from nllgen.launch.lease import LEASE_S, LeaseManager
from nllgen.launch.profile import Profile
from nllgen.launch.retry_policy import (
    FailureKind,
    Line,
    array_of,
    exhausted_kind,
    failure_kind,
    last_end,
    next_memory_factor,
    unfinished_start,
)
from nllgen.launch.slurm.arrays import Submission, SubmissionDir, last_memory_factors, submissions
from nllgen.launch.slurm.commands import Ends, ends_of, was_cancelled
from nllgen.launch.slurm.live_jobs import LiveJobs, query_live_jobs
from nllgen.launch.slurm.submission import SubmissionRequest, submit
from nllgen.launch.slurm.unnamed import tasks_that_may_run
from nllgen.launch.submission_lock import submission_lock
from nllgen.launch.tasks import read_attempts
from nllgen.storage.atomic import make_folder
from nllgen.storage.states import Expected, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study

_POLL_S = 15.0  # between questions about tasks that may run
_SIGNALLED = (FailureKind.PREEMPTED, FailureKind.TIMEOUT)  # a job cannot tell the signals of scancel from these


@dataclass
class Finalizer:
    """submitit's callable of the stage ``collect``."""

    study_dir: Path
    submission: str  # name of the submission that it belongs to

    def __call__(self) -> str:
        """Send tasks again, or collect; return a sentence that says which.

        Raises:
            CellsFailedError: the study is incomplete, and no task may be retried.
        """
        study_dir = StudyDir(self.study_dir)
        study_dir.guard()
        record = SubmissionDir(study_dir.submitit / self.submission).read()
        num_sent = self._resend(study_dir, record)
        if num_sent:
            return f"{num_sent} sent again; they bring their own collection"
        command = [sys.executable, "-m", "nllgen", "collect", str(self.study_dir)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, env=os.environ)
        if done.returncode != 0:
            raise CellsFailedError(f"{self.study_dir} is not complete", f"see: nllgen status {self.study_dir}")
        return "collected"

    def checkpoint(self) -> DelayedSubmission:
        """Return what submitit requeues; there is no state to save."""
        return DelayedSubmission(self)

    def _resend(self, study_dir: StudyDir, record: Submission) -> int:
        """Send tasks again; wait before while others may run unnamed, at most as long as a lease lasts."""
        ends_at = time.monotonic() + LEASE_S + _POLL_S
        study = study_dir.read_study()
        expected = Expected.of(study, study_dir, record.worker_config.options.required_container)
        while not study_dir.stop.exists():
            with submission_lock(study_dir):
                if study_dir.stop.exists():  # cancelled while this waited
                    return 0
                live = query_live_jobs(study_dir, study.name)
                unknown = _unknown_tasks(study_dir, study, expected, live)
                if not unknown or time.monotonic() > ends_at:
                    known = {*live.tasks, *unknown}
                    factors = tasks_to_resend(study_dir, study, expected, record.charged_to, known)
                    return _send_again(study_dir, study, record, factors)
            print(f"{len(unknown)} tasks may run although the scheduler does not name them; asking again", flush=True)
            time.sleep(_POLL_S)
        return 0


def _unknown_tasks(study_dir: StudyDir, study: Study, expected: Expected, live: LiveJobs) -> dict[str, str]:
    unnamed = [task for task in tasks_of(study, study_dir) if task.name not in live.tasks]
    return tasks_that_may_run(study_dir, [task for task in unnamed if inspect(task, expected).state.is_to_run])


def _send_again(study_dir: StudyDir, study: Study, record: Submission, memory_factors: Mapping[str, float]) -> int:
    """Send tasks, each with its multiple of the profile's memory, as a submission did; return their number."""
    if not memory_factors:
        return 0
    profile, only, under = Profile.model_validate(record.profile), tuple(memory_factors), record.charged_to
    config, shape = record.worker_config, record.shape
    request = SubmissionRequest(study_dir, study, profile, config, shape, only, under, memory_factors)
    result = submit(replace(request, echo=lambda text: print(text, flush=True)), Finalizer)
    return len(memory_factors) if result.submission else 0


@dataclass
class LostJobs:
    """Finds lost jobs among tasks for which the scheduler has no job any more.

    A cancelled job is not lost. The scheduler is asked once for each array.
    """

    charged_to: str  # submission that failures are charged to
    # task → the element, ``<array>_<index>``, that it was last sent as; only the number of the array if its elements
    # share their tasks
    elements: Mapping[str, str]
    clusters: Mapping[str, str] = field(default_factory=dict)  # array → its cluster, if not the machine's own
    _ends: dict[str, Ends] = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, study_dir: StudyDir, charged_to: str) -> LostJobs:
        """Read the elements of all submissions that are charged to one; jobs that were not noted are left out."""
        elements: dict[str, str] = {}
        clusters: dict[str, str] = {}
        for submission_dir, submission in submissions(study_dir):  # newer ones replace older ones
            if submission.charged_to != charged_to:
                continue
            numbers = submission_dir.job_ids()
            clusters |= submission_dir.job_clusters()
            for stage in submission.stages:
                number = numbers.get(stage.name, "")
                for index, names in enumerate(stage.elements):
                    elements |= dict.fromkeys(names, number if stage.workers or not number else f"{number}_{index}")
        return cls(charged_to, elements, clusters)

    def record_lost(self, task: Task) -> bool:
        """Record a task as lost if it was sent and never started; return True if it was recorded.

        Raises:
            MachineError: it cannot be recorded.
        """
        element = self.elements.get(task.name, "")
        array = element.partition("_")[0]
        # a line by a job of the array, or one for it that says it was lost
        has_line = any(array_of(line) == array for line in read_attempts(task.attempts))
        if not element or task.stop.exists() or has_line or self._was_cancelled(element, array):
            return False
        make_folder(task.task_dir.path)
        record_lost_job(task, self.charged_to, element)
        return True

    def _was_cancelled(self, element: str, array: str) -> bool:
        if array not in self._ends:
            self._ends[array] = ends_of(array, cluster=self.clusters.get(array, ""))
        ends = self._ends[array]
        if "_" not in element:
            return any(state.startswith("CANCELLED") for state in ends.states.values())
        # an element that is cancelled while it waits is forgotten at once, other elements of its array are not
        return ends.states.get(element, "CANCELLED" if ends.are_all else "").startswith("CANCELLED")


def tasks_to_resend(
    study_dir: StudyDir, study: Study, expected: Expected, charged_to: str, live_tasks: Collection[str]
) -> dict[str, float]:
    """Return task → multiple of the profile's memory, for unfinished tasks without a job that may be retried."""
    previous_factors = last_memory_factors(study_dir)
    lost_jobs = LostJobs.of(study_dir, charged_to)
    factors: dict[str, float] = {}
    unfinished: set[str] = set()
    for task in tasks_of(study, study_dir):
        state = inspect(task, expected).state
        if task.name in live_tasks or state.is_done:
            continue
        unfinished.add(task.name)
        if not state.is_to_run:  # its result cannot be read now
            continue
        if not any(need in unfinished for need in task.needs):  # else the scheduler dropped it with what it needs
            lost_jobs.record_lost(task)
        factor = retry_factor(task, charged_to, previous_factors.get(task.name, 1.0))
        if not factor and any(need in factors for need in task.needs) and not read_attempts(task.attempts):
            factor = 1.0  # never started: the scheduler dropped it when what it needs had failed
        if factor:
            factors[task.name] = factor
    return factors


def retry_factor(task: Task, charged_to: str, previous_factor: float) -> float:
    """Return the multiple of the profile's memory with which a failed task is retried; 0 if it is not retried."""
    if not _ensure_end(task):
        return 0.0
    lines = read_attempts(task.attempts)
    last = last_end(lines)
    if last is None or task.stop.exists() or not _may_be_retried(last, lines, charged_to):
        return 0.0
    return next_memory_factor(previous_factor, failure_kind(last))


def _ensure_end(task: Task) -> bool:
    """Record the end of an attempt whose job is gone; return False if a local supervisor is still at work."""
    start = unfinished_start(read_attempts(task.attempts))
    if start is not None and not start.get("job") and LeaseManager().is_held(task.lease):
        return False
    record_vanished(task)
    return True


def _may_be_retried(last: Line, lines: Sequence[Line], charged_to: str) -> bool:
    if last.get("submission") != charged_to or exhausted_kind(lines, charged_to) is not None:
        return False
    kind = failure_kind(last)
    if kind in (None, FailureKind.ASKED):
        return False
    return not (kind in _SIGNALLED and was_cancelled(*_job_of(last, lines)))


def _job_of(end: Line, lines: Sequence[Line]) -> tuple[str, str]:
    """Return the job of an attempt, and its cluster; empty where none is recorded."""
    of_attempt = [line for line in lines if line.get("attempt") == end.get("attempt") and line.get("job")]
    return next(((str(line["job"]), str(line.get("cluster", ""))) for line in of_attempt), ("", ""))
