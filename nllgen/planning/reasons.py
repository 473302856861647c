"""The reasons why tasks run or are skipped, in words."""

from __future__ import annotations

from dataclasses import dataclass

from nllgen.storage.states import ResultState, TaskFiles
from nllgen.storage.tasks import Task, TaskKind


@dataclass(frozen=True)
class ContainerRule:
    """The container that runs are to be made in.

    Attributes:
        sha256: its digest.
        strict: results that another one made do not count.
    """

    sha256: str
    strict: bool = False


def reason_of(task: Task, files: TaskFiles, container: ContainerRule | None) -> str:
    """Return in words why a task runs or is skipped."""
    detail = files.detail
    match files.state:
        case ResultState.MISSING:
            return "no result"
        case ResultState.PARTIAL if task.kind is TaskKind.CELL and files.step is not None:
            return f"checkpoint at step {files.step} of {task.cell.paradigm.steps}: resumes"
        case ResultState.PARTIAL:
            return f"partial{f' ({detail})' if detail else ''}: goes on"
        case ResultState.DAMAGED:
            return f"result is damaged ({detail or 'unreadable'}): runs again"
        case ResultState.STALE:
            return f"{detail}: does not count, runs again"
        case ResultState.LOCKED:
            return f"cannot be read now ({detail}): left as it is"
        case ResultState.DIVERGED if task.kind is TaskKind.TRUTH:
            return "diverged: nothing that needs it can run; change the truth in the grid"
        case ResultState.DIVERGED:
            reason = "diverged: a recorded outcome, not run again"
        case ResultState.WEIGHTLESS:
            reason = f"{detail}: the numbers count, nothing more can be measured"
        case ResultState.COMPLETE:
            reason = f"{detail}, done" if detail else "done"
    if container is None or task.kind is TaskKind.DATASET or files.container_sha256 == container.sha256:
        return reason
    made_in = f"container {files.container_sha256[:12]}" if files.container_sha256 else "no container"
    return f"{reason}, but made in {made_in}"
