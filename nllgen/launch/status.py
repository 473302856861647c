"""What became of a study: files are the truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from nllgen.launch.claims import Claims
from nllgen.launch.tasks import FAILED, Task, is_done, read_attempts, tasks_of
from nllgen.store.result import read_head
from nllgen.store.study_dir import StudyDir
from nllgen.study.config import Study

STATES = ("done", "diverged", "damaged", "running", "failed", "stopped", "waiting")


@dataclass(frozen=True)
class TaskStatus:
    """One task.

    Attributes:
        name, label: of the task.
        state: one of ``STATES``.
        attempts: started so far.
        log: its log, relative to the study folder.
        detail: what there is to say.
    """

    name: str
    label: str
    state: str
    attempts: int
    log: str
    detail: str = ""


def status(folder: StudyDir, study: Study) -> list[TaskStatus]:
    """The state of every task, from its files."""
    return [_task_status(task, study, folder) for task in tasks_of(study, folder)]


def _task_status(task: Task, study: Study, folder: StudyDir) -> TaskStatus:
    lines = read_attempts(task.attempts) if task.attempts.exists() else []
    state, detail = _state(task, study, folder, lines)
    started = sum(line.get("event") == "started" for line in lines)
    return TaskStatus(task.name, task.label, state, started, str(task.log.relative_to(folder.path)), detail)


def _state(task: Task, study: Study, folder: StudyDir, lines: list[dict[str, Any]]) -> tuple[str, str]:
    if is_done(task, study, folder):
        return "done" if task.name == "dataset" else str(read_head(task.folder.result)["outcome"]), ""
    if task.claim.exists() and Claims().is_held(task.claim):
        return "running", ""
    if task.name not in ("truth", "dataset") and task.folder.result.exists():
        return "damaged", "result.h5 cannot be read; submitting again runs it anew"
    last = lines[-1] if lines else {}
    if last.get("event") == FAILED:
        return "failed", f"exit code {last.get('exit_code')}"
    return ("stopped", "goes on where it stopped when submitted again") if lines else ("waiting", "")


def to_json(rows: list[TaskStatus]) -> dict[str, Any]:
    """Counts by state and every task, as plain values."""
    counts = Counter(row.state for row in rows)
    return {"counts": {state: counts[state] for state in STATES}, "tasks": [asdict(row) for row in rows]}
