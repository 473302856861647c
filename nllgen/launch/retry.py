"""The tasks that ``nllgen retry`` sends again, and the settings of their last submission."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from nllgen.errors import ConfigError
from nllgen.launch.retry_policy import FailureKind, next_memory_factor
from nllgen.launch.slurm.arrays import Submission, last_memory_factors, submissions
from nllgen.launch.status import TaskReport
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task
from nllgen.study.diagnostics import did_you_mean

_RETRIED = (TaskStatus.FAILED, TaskStatus.STOPPED, TaskStatus.DAMAGED, TaskStatus.STALE)


@dataclass(frozen=True)
class RetrySelection:
    """The tasks to send again.

    Attributes:
        rows: reports of tasks that failed or stopped.
        waiting: names of tasks that never started because they need one of these.
        refused: name → why the task is not retried.
    """

    rows: tuple[TaskReport, ...]
    waiting: tuple[str, ...]
    refused: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all tasks to send."""
        return (*(row.name for row in self.rows), *self.waiting)


def parse_failure_kinds(words: Sequence[str]) -> frozenset[FailureKind]:
    """Parse kinds of failures as they are typed: ``node failure``, ``node-failure``, ``Node_Failure``.

    Raises:
        ConfigError: there is no such kind.
    """
    return frozenset(_parse_failure_kind(word) for word in words)


def _parse_failure_kind(word: str) -> FailureKind:
    plain = " ".join(word.lower().replace("-", " ").replace("_", " ").split())
    if plain == TaskStatus.DIVERGED:
        raise ConfigError("a cell that diverged has a result and is not tried again", "its history is kept in it")
    try:
        return FailureKind(plain)
    except ValueError:
        hint = f"one of: {', '.join(sorted(FailureKind))}"
        raise ConfigError(
            f"no kind of failure is called {word!r}{did_you_mean(plain, list(FailureKind))}", hint
        ) from None


def select(
    reports: Sequence[TaskReport], tasks: Sequence[Task], names: Collection[str], kinds: Collection[FailureKind]
) -> RetrySelection:
    """Select the tasks to send again.

    Args:
        reports: reports of all tasks.
        tasks: all tasks.
        names: names of tasks; empty for every task that failed or stopped.
        kinds: kinds of failures; empty for all.
    """
    selected: list[TaskReport] = []
    refused: dict[str, str] = {}
    for report in reports:
        if names and report.name not in names:
            continue
        reason = _refusal(report, kinds)
        if not reason:
            selected.append(report)
        elif names or report.status is TaskStatus.DIVERGED:  # a task that was not named is left out silently
            refused[report.name] = reason
    waiting = () if names else _waiting_for({report.name for report in selected}, reports, tasks)
    return RetrySelection(tuple(selected), waiting, refused)


def _refusal(report: TaskReport, kinds: Collection[FailureKind]) -> str:
    """Return why a task is not retried; empty if it is."""
    if report.status is TaskStatus.DIVERGED:
        return "diverged: that is its result, and it is not tried again"
    if report.status not in _RETRIED:
        return f"is {report.status}"
    if kinds and report.kind not in kinds:
        return f"is {report.status} by {report.kind or 'nothing known'}"
    return ""


def _waiting_for(retried: set[str], reports: Sequence[TaskReport], tasks: Sequence[Task]) -> tuple[str, ...]:
    """Return the names of waiting tasks that need a retried task, directly or through others."""
    waiting = {report.name for report in reports if report.status is TaskStatus.WAITING}
    names: list[str] = []
    for task in tasks:  # a task comes after those that it needs
        if task.name in waiting and any(need in retried or need in names for need in task.needs):
            names.append(task.name)
    return tuple(names)


def memory_factors(selection: RetrySelection, study_dir: StudyDir) -> dict[str, float]:
    """Return task → multiple of the profile's memory, if not 1: doubled for tasks that ran out of it."""
    previous = last_memory_factors(study_dir)
    factors = {row.name: next_memory_factor(previous.get(row.name, 1.0), row.kind) for row in selection.rows}
    return {name: factor for name, factor in factors.items() if factor != 1.0}


def newest_submission(study_dir: StudyDir) -> Submission | None:
    """Return the record of the newest submission; None if nothing was sent to a cluster."""
    records = submissions(study_dir)
    return records[-1][1] if records else None
