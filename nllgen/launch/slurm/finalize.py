"""The last stage of a submission: retry tasks whose failure allows it, or else write study.h5."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from submitit.helpers import DelayedSubmission

from nllgen.errors import EXIT_CELLS_FAILED, EXIT_DONE, CellsFailedError, MachineError, NllgenError
from nllgen.launch.attempt import record_lost_job, record_vanished
from nllgen.launch.lease import LEASE_S, LeaseManager
from nllgen.launch.profile import Profile
from nllgen.launch.retry_policy import (
    DONE,
    FailureKind,
    Line,
    exhausted_kind,
    failure_kind,
    last_end,
    next_memory_factor,
    retry_delay_s,
    unfinished_start,
)
from nllgen.launch.slurm.arrays import Submission, SubmissionDir, last_memory_factors
from nllgen.launch.slurm.clock import job_end
from nllgen.launch.slurm.early_ends import EarlyEnds
from nllgen.launch.slurm.ends import was_cancelled
from nllgen.launch.slurm.live_jobs import LiveJobs, query_live_jobs
from nllgen.launch.slurm.memory_limit import memory_limit
from nllgen.launch.slurm.notify_once import notify_once
from nllgen.launch.slurm.patience import UNATTENDED_S, unattended
from nllgen.launch.slurm.submission import NotSentError, SubmissionRequest, submit
from nllgen.launch.slurm.unnamed import tasks_that_may_run
from nllgen.launch.submission_lock import submission_lock
from nllgen.launch.tasks import read_attempts
from nllgen.storage.atomic import make_folder
from nllgen.storage.states import Expected, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, TaskKind, tasks_of
from nllgen.storage.visibility import appears, is_seen
from nllgen.study.config import Study

_FILE_SERVER_S = 10.0
FINAL_S = 30.0  # patience with a program about jobs that are over
_POLL_S = 15.0  # between questions about tasks that may run
_SIGNALLED = (FailureKind.PREEMPTED, FailureKind.TIMEOUT)  # a job cannot tell the signals of scancel from these


@dataclass
class Finalizer:
    """submitit's callable of the stage ``collect``."""

    study_dir: Path
    submission: str  # name of the submission that it belongs to

    def __call__(self) -> str:
        """Send tasks again, or collect; return a sentence that says which.

        It collects what there is, too, if tasks are missing, or if they cannot be sent again.

        Raises:
            CellsFailedError: the study is incomplete, and no task was sent again.
        """
        study_dir = StudyDir(self.study_dir)
        study_dir.guard()
        command = ""
        try:
            record = SubmissionDir(study_dir.submitit / self.submission).read()
            command = record.notify
            with unattended(_patience_s(record)):
                num_sent = self._resend(study_dir, record)
        except (NllgenError, OSError) as error:
            _print(f"not everything could be sent again: {error}")
            num_sent = 0
        if num_sent:
            return f"{num_sent} sent again; they bring their own collection"
        is_complete = self._collect_all()
        if command:
            notify_once(study_dir, self.submission, command)
        if is_complete:
            return "collected"
        raise CellsFailedError(f"{self.study_dir} is not complete", f"see: nllgen status {self.study_dir}")

    def _collect_all(self) -> bool:
        """Collect what there is; return whether that is everything."""
        code = self._collect()
        if code == EXIT_CELLS_FAILED and any(self.study_dir.glob("cells/*/result.h5")):
            self._collect("--allow-missing")
        return code == EXIT_DONE

    def _collect(self, *options: str) -> int:
        command = [sys.executable, "-m", "nllgen", "collect", str(self.study_dir), *options]
        return subprocess.run(command, stdin=subprocess.DEVNULL, env=os.environ).returncode

    def checkpoint(self) -> DelayedSubmission:
        """Return what submitit requeues; there is no state to save."""
        return DelayedSubmission(self)

    def _resend(self, study_dir: StudyDir, record: Submission) -> int:
        """Send tasks again; wait before while others may run unnamed, at most as long as a lease lasts."""
        ends_at = time.monotonic() + LEASE_S + _POLL_S
        study = study_dir.read_study()
        expected = Expected.of(study, study_dir, record.worker_config.options.required_container)
        while not is_seen(study_dir.stop):
            with submission_lock(study_dir):
                if is_seen(study_dir.stop):  # cancelled while this waited
                    return 0
                live = query_live_jobs(study_dir, study.name)
                unknown = _unknown_tasks(study_dir, study, expected, live)
                if not unknown or time.monotonic() > ends_at:
                    known = {*live.tasks, *unknown}
                    _await_files(study_dir, study, expected, known)
                    factors = tasks_to_resend(study_dir, study, expected, record.charged_to, known)
                    return _send_again(study_dir, study, record, factors)
            _print(f"{len(unknown)} tasks may run although the scheduler does not name them; asking again")
            time.sleep(_POLL_S)
        return 0


def _unknown_tasks(study_dir: StudyDir, study: Study, expected: Expected, live: LiveJobs) -> dict[str, str]:
    unnamed = [task for task in tasks_of(study, study_dir) if task.name not in live.tasks]
    return tasks_that_may_run(study_dir, [task for task in unnamed if inspect(task, expected).state.is_to_run])


def _send_again(study_dir: StudyDir, study: Study, record: Submission, memory_factors: Mapping[str, float]) -> int:
    """Send tasks, each with its multiple of the profile's memory, as a submission did; return their number."""
    profile, under = Profile.of_record(record.profile), record.charged_to
    factors = _capped(study_dir, study, record, profile, memory_factors)
    if not factors:
        return 0
    only, config = tuple(factors), record.worker_config
    request = SubmissionRequest(study_dir, study, profile, config, record.shape, only, under, factors)
    request = replace(request, delays_s=_delays_s(study_dir, study, under), echo=_print, notify=record.notify)
    try:
        result = submit(request, Finalizer)
    except MachineError as error:
        refusals = error.refusals if isinstance(error, NotSentError) else dict.fromkeys(only, error)
        _record_refusals(study_dir, study, under, refusals)
        raise
    return len(factors) if result.submission else 0


def _patience_s(record: Submission) -> float:
    """Return how long the scheduler is asked: half of the job's time is for the collection."""
    time_min = record.profile.get("time_min")
    end = job_end(os.environ, time_min if isinstance(time_min, int) else None)
    return min(UNATTENDED_S, max(0.0, (end.at - time.time()) / 2))


def _await_files(study_dir: StudyDir, study: Study, expected: Expected, live_tasks: Collection[str]) -> None:
    """Wait some seconds for results and ends of attempts that other nodes have written, if any seem to lack."""
    tasks = [task for task in tasks_of(study, study_dir) if task.name not in live_tasks]
    absent = [task for task in tasks if _seems_lost(task, expected)]
    if absent:
        directories = {task.task_dir.path for task in absent}
        appears(lambda: not any(_seems_lost(task, expected) for task in absent), directories, _FILE_SERVER_S)


def _seems_lost(task: Task, expected: Expected) -> bool:
    """Return True if neither a result nor the end of an attempt explains that a task has no job."""
    if not inspect(task, expected).state.is_to_run:
        return False
    last = last_end(read_attempts(task.attempts))
    return last is None or last.get("event") == DONE


def _capped(
    study_dir: StudyDir, study: Study, record: Submission, profile: Profile, factors: Mapping[str, float]
) -> dict[str, float]:
    """Return the multiples of memory that the cluster can give; fail the tasks that cannot get more than they had."""
    previous = last_memory_factors(study_dir)
    grown = [task for task in tasks_of(study, study_dir) if factors.get(task.name, 0) > previous.get(task.name, 1.0)]
    capped = dict(factors)
    for is_cell in {task.kind is TaskKind.CELL for task in grown}:
        limit = memory_limit(profile, study.resources, record.shape.pack if is_cell else 1)
        for task in (task for task in grown if limit and (task.kind is TaskKind.CELL) == is_cell):
            assert limit is not None
            capped[task.name] = limit.cap(previous.get(task.name, 1.0), factors[task.name])
            if not capped[task.name]:
                _record_last(task, record.charged_to, f"it needs more, and {limit.reason}")
    return {name: factor for name, factor in capped.items() if factor}


def _record_last(task: Task, submission: str, reason: str) -> None:
    """Record why a failed task is not tried again, with its last failure, as what ``status`` shows of it."""
    lines = read_attempts(task.attempts)
    if (end := last_end(lines)) is not None:
        kind = failure_kind(end) or FailureKind.LOST
        text = "; ".join(filter(None, [str(end.get("reason") or ""), reason]))
        record_lost_job(task, submission, _job_of(end, lines)[0], kind, text)


def _record_refusals(study_dir: StudyDir, study: Study, submission: str, refusals: Mapping[str, MachineError]) -> None:
    """Record why tasks were not sent again."""
    for task in tasks_of(study, study_dir):
        if task.name in refusals:
            _record_last(task, submission, f"not sent again: {refusals[task.name].message}")


def _print(text: str) -> None:
    print(text, flush=True)


def _delays_s(study_dir: StudyDir, study: Study, charged_to: str) -> dict[str, int]:
    """Return task → seconds that it is to wait, for those that failed within seconds more than once."""
    delays_s = {
        task.name: retry_delay_s(read_attempts(task.attempts), charged_to) for task in tasks_of(study, study_dir)
    }
    return {name: delay_s for name, delay_s in delays_s.items() if delay_s}


def tasks_to_resend(
    study_dir: StudyDir, study: Study, expected: Expected, charged_to: str, live_tasks: Collection[str]
) -> dict[str, float]:
    """Return task → multiple of the profile's memory, for unfinished tasks without a job that may be retried."""
    previous_factors = last_memory_factors(study_dir)
    early_ends = EarlyEnds(study_dir, charged_to, FINAL_S)
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
            record_early_end(task, charged_to, early_ends)
        factor = retry_factor(task, charged_to, previous_factors.get(task.name, 1.0))
        if not factor and any(need in factors for need in task.needs) and not read_attempts(task.attempts):
            factor = 1.0  # never started: the scheduler dropped it when what it needs had failed
        if factor:
            factors[task.name] = factor
    return factors


def record_early_end(task: Task, charged_to: str, early_ends: EarlyEnds) -> bool:
    """Record the end of a task's job that left no attempt; return True if there was one.

    Raises:
        MachineError: it cannot be recorded.
    """
    end = early_ends.end_of(task)
    if end is None:
        return False
    make_folder(task.task_dir.path)
    record_lost_job(task, charged_to, end.job, end.kind, end.reason)
    return True


def retry_factor(task: Task, charged_to: str, previous_factor: float) -> float:
    """Return the multiple of the profile's memory with which a failed task is retried; 0 if it is not retried."""
    if not _ensure_end(task):
        return 0.0
    lines = read_attempts(task.attempts)
    last = last_end(lines)
    if last is None or is_seen(task.stop) or not _may_be_retried(last, lines, charged_to):
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
