"""The status of a study's tasks. Files decide; the scheduler only adds hints."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from nllgen.errors import MachineError
from nllgen.launch.attempt import measured_of, progress_of
from nllgen.launch.condition import condition_of, lacks_result
from nllgen.launch.lease import LeaseManager
from nllgen.launch.retry_policy import STARTED, FailureKind
from nllgen.launch.slurm.arrays import is_copy, submissions
from nllgen.launch.slurm.commands import HINT_S
from nllgen.launch.slurm.early_ends import EarlyEnds
from nllgen.launch.slurm.live_jobs import LiveJobs, query_live_jobs
from nllgen.launch.slurm.waits import Wait, collection_wait
from nllgen.launch.tasks import read_attempts
from nllgen.storage.states import Expected, ResultState, TaskFiles, TaskStatus, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.storage.visibility import refresh
from nllgen.study.config import Study

_OF_RESULT = {
    ResultState.COMPLETE: TaskStatus.DONE,
    ResultState.DIVERGED: TaskStatus.DIVERGED,
    ResultState.WEIGHTLESS: TaskStatus.WEIGHTLESS,
}


@dataclass(frozen=True)
class TaskReport:
    """One task as ``nllgen status`` shows it."""

    name: str
    label: str  # its description for people
    status: TaskStatus
    attempts: int  # number of attempts started so far
    log: str  # path of its log, relative to the study folder
    detail: str = ""  # explanation of the status; may be empty
    kind: FailureKind | None = None  # kind of the failure or stop; None without one
    step: int = 0  # steps that the worker last reported as done; 0 if it reported none
    steps: int = 0  # steps in all; 0 if the worker reported none
    note: str = ""  # last measurement that the worker reported
    job: str = ""  # number of the scheduler's job, ``7_3`` for an element; empty without one
    reason: str = ""  # why that job waits, in Slurm's word; empty unless it waits
    starts_at: str = ""  # when Slurm expects it to start, in the cluster's time; empty where it does not
    finished_at: str = ""  # time at which its result was made; empty without one
    seconds_per_step: float = 0.0  # duration of a step according to the result; 0 without one
    measured: Mapping[str, float] = field(default_factory=dict)  # last evaluation that the worker reported

    @property
    def has_result(self) -> bool:
        """Return True if the task is complete; a divergence is a result, and numbers without weights are one."""
        return self.status in _OF_RESULT.values()

    @property
    def short_detail(self) -> str:
        """Return the detail for a column of a table; the words for a reason are on lines below it."""
        return self.reason or self.detail

    @property
    def wait(self) -> Wait | None:
        """Return why its job waits; None unless it waits for a reason."""
        return Wait(self.reason, self.job, self.starts_at) if self.reason else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the status is called ``state``, and no kind is an empty string."""
        # much faster than ``asdict``, which copies every value
        values = {("state" if name == "status" else name): value for name, value in vars(self).items()}
        return values | {"state": str(self.status), "kind": str(self.kind or "")}


def query_scheduler(
    study_dir: StudyDir, study: Study, patience_s: float | None = HINT_S
) -> tuple[LiveJobs | None, str]:
    """Ask the scheduler for the jobs of a study that was submitted to a cluster.

    Returns:
        The jobs, or None and the reason if the scheduler cannot be asked. The reason is empty for a local study.
    """
    records = [submission for _, submission in submissions(study_dir)]
    if not records:
        return None, ""
    if all(is_copy(study_dir, submission) for submission in records):
        return None, "from files alone: this is a copy of the folder that was submitted"
    try:
        return query_live_jobs(study_dir, study.name, patience_s), ""
    except MachineError as error:
        return None, f"from files alone: {error.message}"


def status(study_dir: StudyDir, study: Study, live: LiveJobs | None = None) -> list[TaskReport]:
    """Report every task from its files and from the jobs that the scheduler still has; None if it was not asked."""
    leases = LeaseManager()
    expected = Expected.of(study, study_dir)
    early_ends = None if live is None else EarlyEnds(study_dir)
    return [_report(task, study_dir, expected, live, leases, early_ends) for task in tasks_of(study, study_dir)]


def _report(
    task: Task,
    study_dir: StudyDir,
    expected: Expected,
    live: LiveJobs | None,
    leases: LeaseManager,
    early_ends: EarlyEnds | None,
) -> TaskReport:
    log = f"{task.log}".removeprefix(f"{study_dir.path}/")  # much faster than pathlib for thousands of cells
    files = inspect(task, expected)
    if files.state.is_done:
        return _done(task, files, log)
    lines = read_attempts(task.attempts)
    if lacks_result(files, lines):  # or a client of NFS remembers its absence: only these tasks pay for another look
        refresh(task.task_dir.path)
        files = inspect(task, expected)
        if files.state.is_done:
            return _done(task, files, log)
    attempts = sum(line.get("event") == STARTED for line in lines)
    state, detail, kind = condition_of(task, files, lines, live, leases, early_ends)
    progress = progress_of(task) if lines else {}
    step, steps, note = progress.get("done", 0), progress.get("total", 0), str(progress.get("note", ""))
    line = live.lines.get(task.name) if live else None
    job = "" if live is None else live.jobs.get(task.name, "")
    report = TaskReport(
        task.name,
        task.label,
        state,
        attempts,
        log,
        detail,
        kind,
        step,
        steps,
        note,
        job,
        measured=measured_of(progress),
    )
    if live is None or line is None:
        return report
    job = live.own_elements.get(task.name, line.job)
    if state is not TaskStatus.QUEUED or not line.is_waiting:
        return replace(report, job=job)
    return replace(report, job=job, reason=line.reason, starts_at=line.starts_at)


def _done(task: Task, files: TaskFiles, log: str) -> TaskReport:
    """Report a task with a result, without its record of attempts: there may be ten thousand."""
    attempts = files.attempts or sum(line.get("event") == STARTED for line in read_attempts(task.attempts))
    seconds = files.seconds_per_step or 0.0
    seconds = seconds if math.isfinite(seconds) else 0.0
    when = files.finished_at
    dead = "" if files.dead_step is None else f"its generator's gradient is dead since step {files.dead_step}"
    detail = "; ".join(filter(None, [files.detail if files.state is ResultState.WEIGHTLESS else "", dead]))
    state = _OF_RESULT[files.state]
    return TaskReport(task.name, task.label, state, attempts, log, detail, finished_at=when, seconds_per_step=seconds)


def to_json(reports: Iterable[TaskReport], scheduler: str = "", live: LiveJobs | None = None) -> dict[str, Any]:
    """Return plain values: counts, why the scheduler could not be asked (empty if it could), and every task.

    With the live jobs, they have why the collection waits, and how many lines of squeue are no lines of jobs.
    """
    collection = collection_wait(live)
    reports = list(reports)
    counts = Counter(report.status for report in reports)
    return {
        "counts": {str(state): counts[state] for state in TaskStatus},
        "scheduler": scheduler,
        "num_unread_lines": live.num_unread if live else 0,
        "collection": asdict(collection) if collection else None,
        "tasks": [report.to_json() for report in reports],
    }
