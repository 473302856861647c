"""What became of a study: files are the truth, the scheduler a hint."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nllgen.errors import MachineError
from nllgen.launch.attempt import progress_of
from nllgen.launch.lease import LeaseManager
from nllgen.launch.retry_policy import (
    STARTED,
    STOPPED,
    FailureKind,
    Line,
    abandoned_kind,
    failure_kind,
    last_ended,
    unended,
)
from nllgen.launch.slurm.arrays import is_copy, submissions
from nllgen.launch.slurm.commands import HINT_S
from nllgen.launch.slurm.submission import LiveJobs, query_live_jobs
from nllgen.launch.tasks import Task, done_head, read_attempts, tasks_of
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study

STATES = ("done", "diverged", "damaged", "running", "queued", "failed", "stopped", "waiting")


@dataclass(frozen=True)
class TaskStatus:
    """One task.

    Attributes:
        name, label: of the task.
        state: one of ``STATES``.
        attempts: started so far.
        log: its log, relative to the study folder.
        detail: what there is to say.
        kind: of failure or stop; empty without one.
        step, steps: how far it is, as the worker last said; 0 where it said nothing.
        note: what the worker last measured.
        job: of the scheduler, empty without one.
        finished_at: when its result was made; empty without one.
        seconds_per_step: as its result says; 0 without one.
    """

    name: str
    label: str
    state: str
    attempts: int
    log: str
    detail: str = ""
    kind: str = ""
    step: int = 0
    steps: int = 0
    note: str = ""
    job: str = ""
    finished_at: str = ""
    seconds_per_step: float = 0.0


def query_scheduler(folder: StudyDir, study: Study, patience_s: float | None = HINT_S) -> tuple[LiveJobs | None, str]:
    """What the scheduler says of a study that was sent to one; None and the reason where it says nothing."""
    sent = [submission for _, submission in submissions(folder)]
    if not sent:
        return None, ""
    if all(is_copy(folder, submission) for submission in sent):
        return None, "from files alone: this is a copy of the folder that was submitted"
    try:
        return query_live_jobs(folder, study.name, patience_s), ""
    except MachineError as error:
        return None, f"from files alone: {error.message}"


def status(folder: StudyDir, study: Study, live: LiveJobs | None = None) -> list[TaskStatus]:
    """The state of every task, from its files; ``live`` tells which of the others the scheduler still has."""
    leases = LeaseManager()
    truth_sha256 = folder.truth_sha256(study.truth.id) if study.truth else ""  # asked once, not for every cell
    return [_task_status(task, study, folder, live, leases, truth_sha256) for task in tasks_of(study, folder)]


def _task_status(
    task: Task, study: Study, folder: StudyDir, live: LiveJobs | None, leases: LeaseManager, truth_sha256: str
) -> TaskStatus:
    log = str(task.log).removeprefix(f"{folder.path}/")  # much faster than pathlib for thousands
    lines = read_attempts(task.attempts)
    started = sum(line.get("event") == STARTED for line in lines)
    if (head := done_head(task, study, folder, truth_sha256=truth_sha256)) is not None:
        outcome, when, speed = head.get("outcome", "done"), head.get("finished_at", ""), head.get("seconds_per_step", 0)
        speed = float(speed) if math.isfinite(speed) else 0.0
        return TaskStatus(
            task.name, task.label, str(outcome), started, log, finished_at=str(when), seconds_per_step=speed
        )
    state, detail, kind = _state(task, lines, live, leases)
    progress = progress_of(task) if lines else {}
    return TaskStatus(
        task.name,
        task.label,
        state,
        started,
        log,
        detail,
        str(kind or ""),
        progress.get("done", 0),
        progress.get("total", 0),
        str(progress.get("note", "")),
        "" if live is None else live.jobs.get(task.name, ""),
    )


def _state(
    task: Task, lines: Sequence[Line], live: LiveJobs | None, leases: LeaseManager
) -> tuple[str, str, FailureKind | None]:
    if task.lease.exists() and leases.is_held(task.lease) and not _is_abandoned(task, live, leases):
        return "running", _sign_of_life(task), None
    if not lines and task.stop.exists():
        return "stopped", "cancelled before it began; runs when submitted again", FailureKind.ASKED
    if live is not None and task.name in live.tasks and not _is_over_in_its_job(lines, live.jobs[task.name]):
        # a running job may hold many cells that nobody has begun
        runs = live.tasks[task.name] != "PENDING" and unended(lines) is not None
        return ("running" if runs else "queued"), f"job {live.jobs[task.name]} {live.tasks[task.name].lower()}", None
    if task.name not in ("truth", "dataset") and task.folder.result.exists():
        return "damaged", "result.h5 cannot be read or does not count; submitting again runs it anew", None
    last = last_ended(lines)
    if last is None:
        detail = "its supervisor is gone; goes on where it stopped when submitted again"
        return ("stopped", detail, FailureKind.LOST) if lines else ("waiting", "", None)
    kind = failure_kind(last)
    if last.get("event") == STOPPED or kind is None:
        what = "" if kind in (None, FailureKind.ASKED) else f"{kind}; "
        return "stopped", f"{what}goes on where it stopped when submitted again", kind
    code = f"exit code {last['exit_code']}" if "exit_code" in last else ""
    return "failed", ": ".join(filter(None, [str(kind), str(last.get("reason") or ""), code])), kind


def _is_over_in_its_job(lines: Sequence[Line], job: str) -> bool:
    """Whether this job, which goes on with other tasks, has given the task up."""
    last = last_ended(lines)
    if last is None or abandoned_kind(lines, str(last.get("submission"))) is None:
        return False
    return any(line.get("attempt") == last.get("attempt") and _array(line) == job for line in lines)


def _array(line: Line) -> str:
    return str(line.get("job", "")).partition("_")[0]


def _is_abandoned(task: Task, live: LiveJobs | None, leases: LeaseManager) -> bool:
    """Whether a lease is of a job that the scheduler has no more, and has not been renewed for a whole lease.

    Either alone says nothing: clocks differ, and a folder may be shared by clusters that do not know of each other.
    """
    if live is None or task.name in live.tasks or not leases.is_of_job(task.lease):
        return False
    try:
        found = task.lease.stat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and time.time() - found.st_mtime > leases.lease_s


def _sign_of_life(task: Task) -> str:
    """When it was last known to be at work; another host's clock may differ, and a copied folder tells old news."""
    newest = 0.0
    for path in (task.lease, task.folder.progress):
        try:
            newest = max(newest, path.stat().st_mtime)
        except OSError:
            continue
    age = time.time() - newest
    return f"no sign of life for {_duration(age)}" if newest and age > 120 else ""


def _duration(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def to_json(rows: Iterable[TaskStatus], scheduler: str = "") -> dict[str, Any]:
    """Counts by state, why the scheduler could not be asked (empty where it could), and every task; plain values."""
    rows = list(rows)
    counts = Counter(row.state for row in rows)
    return {
        "counts": {state: counts[state] for state in STATES},
        "scheduler": scheduler,
        "tasks": [vars(row) for row in rows],  # flat: ``asdict`` would copy every value
    }
