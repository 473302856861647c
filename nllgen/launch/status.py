"""The status of a study's tasks. Files decide; the scheduler only adds hints."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from nllgen.errors import MachineError
from nllgen.launch.attempt import measured_of, modified_ns, progress_of
from nllgen.launch.lease import LeaseManager
from nllgen.launch.retry_policy import (
    STARTED,
    STOPPED,
    FailureKind,
    Line,
    array_of,
    exhausted_kind,
    failure_kind,
    last_end,
    unfinished_start,
)
from nllgen.launch.slurm.arrays import is_copy, submissions
from nllgen.launch.slurm.commands import HINT_S
from nllgen.launch.slurm.early_ends import EarlyEnds
from nllgen.launch.slurm.live_jobs import LiveJobs, query_live_jobs
from nllgen.launch.slurm.waits import Wait, collection_wait, why_waiting
from nllgen.launch.tasks import read_attempts
from nllgen.storage.states import Expected, ResultState, TaskFiles, TaskStatus, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, TaskKind, tasks_of
from nllgen.study.config import Study
from nllgen.study.quantities import duration

_OF_RESULT = {
    ResultState.COMPLETE: TaskStatus.DONE,
    ResultState.DIVERGED: TaskStatus.DIVERGED,
    ResultState.WEIGHTLESS: TaskStatus.WEIGHTLESS,
}
_QUIET_S = 120.0  # a running task that has written nothing for longer is pointed out


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


class _Condition(NamedTuple):
    """The status of a task without a result, and why."""

    status: TaskStatus
    detail: str = ""
    kind: FailureKind | None = None


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
    attempts = sum(line.get("event") == STARTED for line in lines)
    state, detail, kind = _condition(task, files, lines, live, leases, early_ends)
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


def _condition(
    task: Task,
    files: TaskFiles,
    lines: Sequence[Line],
    live: LiveJobs | None,
    leases: LeaseManager,
    early_ends: EarlyEnds | None,
) -> _Condition:
    return (
        _held(task, live, leases)
        or _cancelled_before_start(task, lines)
        or _scheduled(task, lines, live)
        or _not_counting(files)
        or _ended_early(task, early_ends)
        or _vanished(task, files, lines)
        or _after_attempt(lines)
        or _Condition(TaskStatus.WAITING)
    )


def _held(task: Task, live: LiveJobs | None, leases: LeaseManager) -> _Condition | None:
    if task.lease.exists() and leases.is_held(task.lease) and not _is_abandoned(task, live, leases):
        return _Condition(TaskStatus.RUNNING, "; ".join(filter(None, [_unnamed(task, live, leases), _silence(task)])))
    return None


def _unnamed(task: Task, live: LiveJobs | None, leases: LeaseManager) -> str:
    """Return that the scheduler does not name the job of a held lease: that job may run on another cluster."""
    job, cluster = leases.job_of(task.lease)
    if live is None or not job or task.name in live.tasks:
        return ""
    place = f" of {cluster}" if cluster else ""
    return f"the scheduler does not name its job {job}{place}, which renewed its lease"


def _cancelled_before_start(task: Task, lines: Sequence[Line]) -> _Condition | None:
    if lines or not task.stop.exists():
        return None
    detail = "cancelled before it began; runs when submitted again"
    return _Condition(TaskStatus.STOPPED, detail, FailureKind.ASKED)


def _scheduled(task: Task, lines: Sequence[Line], live: LiveJobs | None) -> _Condition | None:
    if live is None or task.name not in live.tasks:
        return None
    job, job_state = live.jobs[task.name], live.tasks[task.name]
    if _was_abandoned_by_job(lines, job):
        return None
    # a running job may hold many cells that have not been started yet
    is_running = job_state != "PENDING" and unfinished_start(lines) is not None
    if is_running:
        return _Condition(TaskStatus.RUNNING, f"job {job} {job_state.lower()}")
    line = live.lines.get(task.name)
    why = f" ({why_waiting(line)})" if line and line.is_waiting and line.reason else ""
    return _Condition(TaskStatus.QUEUED, f"job {job} {job_state.lower()}{why}")


def _not_counting(files: TaskFiles) -> _Condition | None:
    again = "submitting again runs it anew"
    match files.state:
        case ResultState.DAMAGED:
            return _Condition(TaskStatus.DAMAGED, f"{files.detail}; {again}")
        case ResultState.STALE:
            return _Condition(TaskStatus.STALE, f"{files.detail}; {again}")
        case ResultState.LOCKED:
            return _Condition(TaskStatus.LOCKED, f"{files.detail}; nothing is known of it until it can be read")
    return None


def _ended_early(task: Task, early_ends: EarlyEnds | None) -> _Condition | None:
    end = early_ends.end_of(task) if early_ends else None
    return _Condition(TaskStatus.FAILED, f"{end.kind}: {end.reason}", end.kind) if end else None


def _vanished(task: Task, files: TaskFiles, lines: Sequence[Line]) -> _Condition | None:
    """Return that a task whose record says that it was done has no file at all."""
    end = last_end(lines)
    if end is None or failure_kind(end) is not None or files.state is not ResultState.MISSING:
        return None
    path = task.task_dir.dataset if task.kind is TaskKind.DATASET else task.task_dir.result
    again = "submitting again runs it anew"
    if any(path.parent.glob(f"{path.name}.damaged*")):
        return _Condition(TaskStatus.STOPPED, f"its {path.name} was moved aside; {again}")
    when = f" on {end['at']}" if end.get("at") else ""
    return _Condition(TaskStatus.VANISHED, f"it was done{when}, and {path.name} is gone; restore it, or {again}")


def _after_attempt(lines: Sequence[Line]) -> _Condition | None:
    if not lines:
        return None
    last = last_end(lines)
    if last is None:
        start = unfinished_start(lines)
        gone = f"its job {start['job']}" if start and start.get("job") else "its supervisor"
        detail = f"{gone} is gone; goes on where it stopped when submitted again"
        return _Condition(TaskStatus.STOPPED, detail, FailureKind.LOST)
    kind = failure_kind(last)
    if last.get("event") == STOPPED or kind is None:
        prefix = "" if kind in (None, FailureKind.ASKED) else f"{kind}; "
        return _Condition(TaskStatus.STOPPED, f"{prefix}goes on where it stopped when submitted again", kind)
    exit_code = f"exit code {last['exit_code']}" if "exit_code" in last else ""
    detail = ": ".join(filter(None, [str(kind), str(last.get("reason") or ""), exit_code]))
    return _Condition(TaskStatus.FAILED, "; ".join(filter(None, [detail, _clock_problem(lines, last)])), kind)


def _clock_problem(lines: Sequence[Line], end: Line) -> str:
    """Return how the clock of an attempt's node differed from Slurm's; empty where it did not."""
    clocks = (line.get("clock") for line in lines if line.get("attempt") == end.get("attempt"))
    return str(next(filter(None, clocks), ""))


def _was_abandoned_by_job(lines: Sequence[Line], job: str) -> bool:
    """Return True if this job runs other tasks but will not try this one again."""
    last = last_end(lines)
    if last is None or exhausted_kind(lines, str(last.get("submission"))) is None:
        return False
    return any(line.get("attempt") == last.get("attempt") and array_of(line) == job for line in lines)


def _is_abandoned(task: Task, live: LiveJobs | None, leases: LeaseManager) -> bool:
    """Return True if the scheduler no longer has a lease's job and the lease was not renewed for its whole duration.

    Both are required: clocks differ, and clusters that do not know each other may share a folder.
    """
    if live is None or task.name in live.tasks or not leases.is_of_job(task.lease):
        return False
    try:
        stat = task.lease.stat()
    except OSError:
        return False
    return stat.st_uid == os.geteuid() and time.time() - stat.st_mtime > leases.lease_s


def _silence(task: Task) -> str:
    """Return how long a running task has written nothing; empty below two minutes.

    Ages are approximate: another host's clock may differ, and a copied folder has old files.
    """
    newest_s = max(modified_ns(task.lease), modified_ns(task.task_dir.progress)) / 1e9
    age_s = time.time() - newest_s
    return f"no sign of life for {duration(age_s)}" if newest_s and age_s > _QUIET_S else ""


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
