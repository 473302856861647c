"""The last stage: sends again what deserves it, then proves the study complete and writes study.h5."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit.helpers import DelayedSubmission

from nllgen.errors import CellsFailedError
from nllgen.launch.attempt import record_lost
from nllgen.launch.lease import LeaseManager
from nllgen.launch.lost_jobs import LostJobs
from nllgen.launch.profile import Profile
from nllgen.launch.retry_policy import (
    FailureKind,
    abandoned_kind,
    failure_kind,
    failure_kind_of_state,
    last_ended,
    next_memory_factor,
    unended,
)
from nllgen.launch.slurm.arrays import Submission, SubmissionDir, memory_factors_had
from nllgen.launch.slurm.commands import sacct_state, was_cancelled
from nllgen.launch.tasks import is_done, read_attempts
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study

_FROM_OUTSIDE = (FailureKind.PREEMPTED, FailureKind.TIMEOUT)  # what a job takes the signals of a scancel for


@dataclass
class Finalizer:
    """submitit's callable of the stage ``collect``.

    Attributes:
        study_dir: the frozen study.
        submission: that it belongs to.
    """

    study_dir: Path
    submission: str

    def __call__(self) -> str:
        """Send again, or collect.

        Returns:
            What was done, in words.

        Raises:
            CellsFailedError: the study is not complete, and nothing is left to try.
        """
        folder = StudyDir(self.study_dir)
        folder.guard()
        record = SubmissionDir(folder.submitit / self.submission).read()
        sent = self._send_again(folder, record)
        if sent:
            return f"{sent} sent again; they bring their own collection"
        command = [sys.executable, "-m", "nllgen", "collect", str(self.study_dir)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, env=os.environ)
        if done.returncode != 0:
            raise CellsFailedError(f"{self.study_dir} is not complete", f"see: nllgen status {self.study_dir}")
        return "collected"

    def checkpoint(self) -> DelayedSubmission:
        """Nothing to save: it starts anew."""
        return DelayedSubmission(self)

    def _send_again(self, folder: StudyDir, record: Submission) -> int:
        """Number of tasks that were sent again: those whose last failure's policy allows it."""
        from nllgen.launch.slurm.submission import ArrayShape, query_live_jobs, submit
        from nllgen.launch.submit import submission_lock

        if folder.stop.exists():
            return 0
        study = folder.read_study()
        under = str(record.options["under"])
        with submission_lock(folder):
            if folder.stop.exists():  # asked for while this waited
                return 0
            live = query_live_jobs(folder, study.name)
            again = _to_send_again(folder, study, under, live.tasks)
            if not again:
                return 0
            profile = Profile.model_validate(record.profile)
            sent = submit(
                folder,
                study,
                profile,
                WorkerConfig.from_record(record.options["setup"]),
                ArrayShape(**record.options["shape"]),
                only=tuple(again),
                under=under,
                memory_factors=again,
                echo=lambda text: print(text, flush=True),
            )
        return len(again) if sent.submission else 0


def _to_send_again(folder: StudyDir, study: Study, under: str, live: Collection[str]) -> dict[str, float]:
    """Task → how many times the profile's memory, of those that are not done and that the scheduler does not have."""
    had = memory_factors_had(folder)
    lost_jobs = LostJobs.of(folder, under)
    again: dict[str, float] = {}
    missing: set[str] = set()
    for task in tasks_of(study, folder):
        if task.name in live or is_done(task, study, folder):
            continue
        missing.add(task.name)
        if not any(need in missing for need in task.needs):  # else it was dropped with what it needs
            lost_jobs.record_lost(task)
        factor = retry_factor(task, under, had.get(task.name, 1.0))
        if not factor and any(need in again for need in task.needs) and not read_attempts(task.attempts):
            factor = 1.0  # it was never begun: the scheduler dropped it when what it needs had failed
        if factor:
            again[task.name] = factor
    return again


def retry_factor(task: Task, under: str, had: float) -> float:
    """How many times the profile's memory a failed task is to be sent again with; 0 where it is not.

    Args:
        task: that has no result.
        under: submission that failures are counted under.
        had: how many times the profile's memory it was sent with the last time.
    """
    lines = read_attempts(task.attempts)
    start = unended(lines)
    if start is not None and last_ended(lines) is None:
        if LeaseManager().is_held(task.lease) and not start.get("job"):
            return 0.0
        state = sacct_state(start)
        record_lost(task, failure_kind_of_state(state), f"its job is gone ({state or 'nobody knows why'})")
        lines = read_attempts(task.attempts)
    last = last_ended(lines)
    if task.stop.exists():
        return 0.0
    if last is not None and failure_kind(last) in _FROM_OUTSIDE and was_cancelled(_job_of(last, lines)):
        return 0.0
    if last is None or failure_kind(last) in (None, FailureKind.ASKED) or abandoned_kind(lines, under) is not None:
        return 0.0
    if last.get("submission") != under:
        return 0.0
    return next_memory_factor(had, failure_kind(last))


def _job_of(ended: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> str:
    """The job that an attempt ran in."""
    jobs = [str(line.get("job", "")) for line in lines if line.get("attempt") == ended.get("attempt")]
    return next((job for job in jobs if job), "")
