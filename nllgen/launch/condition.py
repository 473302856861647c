"""The condition of a task without a result, from its lease, the scheduler, its files and its record of attempts."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nllgen.launch.attempt import modified_ns
from nllgen.launch.lease import LeaseManager
from nllgen.launch.retry_policy import (
    STOPPED,
    FailureKind,
    Line,
    array_of,
    exhausted_kind,
    failure_kind,
    last_end,
    time_of,
    unfinished_start,
)
from nllgen.launch.slurm.early_ends import EarlyEnds
from nllgen.launch.slurm.live_jobs import LiveJobs
from nllgen.launch.slurm.waits import why_waiting
from nllgen.storage.states import ResultState, TaskFiles, TaskStatus
from nllgen.storage.tasks import Task
from nllgen.storage.visibility import is_seen
from nllgen.study.quantities import duration

_QUIET_S = 120.0  # a running task that has written nothing for longer is pointed out
_FILE_SERVER_S = 60.0  # for which a client of NFS may go on to say that a new file is not there


class Condition(NamedTuple):
    """The status of a task without a result, and why."""

    status: TaskStatus
    detail: str = ""
    kind: FailureKind | None = None


def condition_of(
    task: Task,
    files: TaskFiles,
    lines: Sequence[Line],
    live: LiveJobs | None,
    leases: LeaseManager,
    early_ends: EarlyEnds | None,
) -> Condition:
    """Return the condition of a task that has no result, by what is nearest to the truth: lease, job, files, record."""
    return (
        _held(task, live, leases)
        or _cancelled_before_start(task, lines)
        or _scheduled(task, lines, live)
        or _not_counting(files)
        or _ended_early(task, early_ends)
        or _vanished(task, files, lines)
        or _after_attempt(lines)
        or Condition(TaskStatus.WAITING)
    )


def _held(task: Task, live: LiveJobs | None, leases: LeaseManager) -> Condition | None:
    if task.lease.exists() and leases.is_held(task.lease) and not _is_abandoned(task, live, leases):
        return Condition(TaskStatus.RUNNING, "; ".join(filter(None, [_unnamed(task, live, leases), _silence(task)])))
    return None


def _unnamed(task: Task, live: LiveJobs | None, leases: LeaseManager) -> str:
    """Return that the scheduler does not name the job of a held lease: that job may run on another cluster."""
    job, cluster = leases.job_of(task.lease)
    if live is None or not job or task.name in live.tasks:
        return ""
    place = f" of {cluster}" if cluster else ""
    return f"the scheduler does not name its job {job}{place}, which renewed its lease"


def _cancelled_before_start(task: Task, lines: Sequence[Line]) -> Condition | None:
    if lines or not is_seen(task.stop):
        return None
    detail = "cancelled before it began; runs when submitted again"
    return Condition(TaskStatus.STOPPED, detail, FailureKind.ASKED)


def _scheduled(task: Task, lines: Sequence[Line], live: LiveJobs | None) -> Condition | None:
    if live is None or task.name not in live.tasks:
        return None
    job, job_state = live.jobs[task.name], live.tasks[task.name]
    if _was_abandoned_by_job(lines, job):
        return None
    # a running job may hold many cells that have not been started yet
    is_running = job_state != "PENDING" and unfinished_start(lines) is not None
    if is_running:
        return Condition(TaskStatus.RUNNING, f"job {job} {job_state.lower()}")
    line = live.lines.get(task.name)
    why = f" ({why_waiting(line)})" if line and line.is_waiting and line.reason else ""
    return Condition(TaskStatus.QUEUED, f"job {job} {job_state.lower()}{why}")


def _not_counting(files: TaskFiles) -> Condition | None:
    again = "submitting again runs it anew"
    match files.state:
        case ResultState.DAMAGED:
            return Condition(TaskStatus.DAMAGED, f"{files.detail}; {again}")
        case ResultState.STALE:
            return Condition(TaskStatus.STALE, f"{files.detail}; {again}")
        case ResultState.LOCKED:
            return Condition(TaskStatus.LOCKED, f"{files.detail}; nothing is known of it until it can be read")
    return None


def _ended_early(task: Task, early_ends: EarlyEnds | None) -> Condition | None:
    end = early_ends.end_of(task) if early_ends else None
    return Condition(TaskStatus.FAILED, f"{end.kind}: {end.reason}", end.kind) if end else None


def lacks_result(files: TaskFiles, lines: Sequence[Line]) -> bool:
    """Return True for a task that has no file at all, although its record says that it was done."""
    end = last_end(lines)
    return end is not None and failure_kind(end) is None and files.state is ResultState.MISSING


def _vanished(task: Task, files: TaskFiles, lines: Sequence[Line]) -> Condition | None:
    """Return what became of the result of a task that lacks it."""
    end = last_end(lines)
    if end is None or not lacks_result(files, lines):
        return None
    path = task.published
    again = "submitting again runs it anew"
    at_s = time_of(end)
    if any(_changed_s(aside) >= at_s for aside in path.parent.glob(f"{path.name}.damaged*")):
        return Condition(TaskStatus.STOPPED, f"its {path.name} was moved aside; {again}")
    when = f" on {end['at']}" if end.get("at") else ""
    if abs(time.time() - at_s) < _FILE_SERVER_S:
        return Condition(
            TaskStatus.STOPPED, f"it was done{when}, and {path.name} is not seen here yet; look again in a minute"
        )
    return Condition(TaskStatus.VANISHED, f"it was done{when}, and {path.name} is gone; restore it, or {again}")


def _changed_s(path: Path) -> float:
    """Return when a file was renamed, or changed since; by its file system's clock."""
    try:
        return path.lstat().st_ctime
    except OSError:
        return math.inf


def _after_attempt(lines: Sequence[Line]) -> Condition | None:
    if not lines:
        return None
    last = last_end(lines)
    if last is None:
        start = unfinished_start(lines)
        gone = f"its job {start['job']}" if start and start.get("job") else "its supervisor"
        detail = f"{gone} is gone; goes on where it stopped when submitted again"
        return Condition(TaskStatus.STOPPED, detail, FailureKind.LOST)
    kind = failure_kind(last)
    if last.get("event") == STOPPED or kind is None:
        prefix = "" if kind in (None, FailureKind.ASKED) else f"{kind}; "
        return Condition(TaskStatus.STOPPED, f"{prefix}goes on where it stopped when submitted again", kind)
    exit_code = f"exit code {last['exit_code']}" if "exit_code" in last else ""
    detail = ": ".join(filter(None, [str(kind), str(last.get("reason") or ""), exit_code]))
    return Condition(TaskStatus.FAILED, "; ".join(filter(None, [detail, _clock_problem(lines, last)])), kind)


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
