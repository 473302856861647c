"""What became of a study: files are the truth, the scheduler a hint."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nllgen.errors import MachineError
from nllgen.launch.attempt import progress_of
from nllgen.launch.claims import Claims
from nllgen.launch.cluster import Live, live_tasks
from nllgen.launch.failures import STARTED, STOPPED, Kind, Line, kind_of, last_ended
from nllgen.launch.stages import submissions
from nllgen.launch.tasks import Task, is_done, read_attempts, tasks_of
from nllgen.store.result import read_head
from nllgen.store.study_dir import StudyDir
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


def hints(folder: StudyDir, study: Study) -> tuple[Live | None, str]:
    """What the scheduler says of a study that was sent to one; None and the reason where it says nothing."""
    if not submissions(folder):
        return None, ""
    try:
        return live_tasks(folder, study.name), ""
    except MachineError as error:
        return None, f"from files alone: {error.message}"


def status(folder: StudyDir, study: Study, live: Live | None = None) -> list[TaskStatus]:
    """The state of every task, from its files; ``live`` tells which of the others the scheduler still has."""
    claims = Claims()
    return [_task_status(task, study, folder, live, claims) for task in tasks_of(study, folder)]


def _task_status(task: Task, study: Study, folder: StudyDir, live: Live | None, claims: Claims) -> TaskStatus:
    log = str(task.log.relative_to(folder.path))
    lines = read_attempts(task.attempts)
    started = sum(line.get("event") == STARTED for line in lines)
    if is_done(task, study, folder):
        outcome = "done" if task.name == "dataset" else str(read_head(task.folder.result)["outcome"])
        return TaskStatus(task.name, task.label, outcome, started, log)
    state, detail, kind = _state(task, lines, live, claims)
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


def _state(task: Task, lines: Sequence[Line], live: Live | None, claims: Claims) -> tuple[str, str, Kind | None]:
    if task.claim.exists() and claims.is_held(task.claim):
        return "running", _sign_of_life(task), None
    if live is not None and task.name in live.tasks:
        waits = live.tasks[task.name] != "RUNNING"
        return ("queued" if waits else "running"), f"job {live.jobs[task.name]} {live.tasks[task.name].lower()}", None
    if task.name not in ("truth", "dataset") and task.folder.result.exists():
        return "damaged", "result.h5 cannot be read or does not count; submitting again runs it anew", None
    last = last_ended(lines)
    if last is None:
        detail = "its supervisor is gone; goes on where it stopped when submitted again"
        return ("stopped", detail, Kind.LOST) if lines else ("waiting", "", None)
    kind = kind_of(last)
    if last.get("event") == STOPPED or kind is None:
        what = "" if kind in (None, Kind.ASKED) else f"{kind}; "
        return "stopped", f"{what}goes on where it stopped when submitted again", kind
    code = f"exit code {last['exit_code']}" if "exit_code" in last else ""
    return "failed", ": ".join(filter(None, [str(kind), str(last.get("reason") or ""), code])), kind


def _sign_of_life(task: Task) -> str:
    """When it was last known to be at work; another host's clock may differ, and a copied folder tells old news."""
    newest = 0.0
    for path in (task.claim, task.folder.progress):
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


def to_json(rows: Iterable[TaskStatus]) -> dict[str, Any]:
    """Counts by state and every task, as plain values."""
    rows = list(rows)
    counts = Counter(row.state for row in rows)
    return {"counts": {state: counts[state] for state in STATES}, "tasks": [asdict(row) for row in rows]}
