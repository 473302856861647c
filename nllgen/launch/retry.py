"""Which tasks are worth another try, when somebody says so, and how they were sent the last time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from nllgen.errors import ConfigError
from nllgen.launch.retry_policy import FailureKind, next_memory_factor
from nllgen.launch.slurm.arrays import Submission, last_memory_factors, submissions
from nllgen.launch.status import TaskReport
from nllgen.launch.tasks import Task
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.study.diagnostics import near

_AGAIN = (TaskStatus.FAILED, TaskStatus.STOPPED, TaskStatus.DAMAGED, TaskStatus.STALE)


@dataclass(frozen=True)
class RetrySelection:
    """What is to be sent again.

    Attributes:
        rows: tasks that failed or stopped.
        waiting: names of those that never began because they wait for one of these.
        refused: name → why it is not tried again.
    """

    rows: tuple[TaskReport, ...]
    waiting: tuple[str, ...]
    refused: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that is sent."""
        return (*(row.name for row in self.rows), *self.waiting)


def kinds_of(words: Sequence[str]) -> frozenset[FailureKind]:
    """Kinds as they are typed: ``node failure``, ``node-failure``, ``Node_Failure``.

    Raises:
        ConfigError: there is no such kind.
    """
    found = set()
    for word in words:
        plain = " ".join(word.lower().replace("-", " ").replace("_", " ").split())
        if plain == "diverged":
            raise ConfigError("a cell that diverged has a result and is not tried again", "its history is kept in it")
        try:
            found.add(FailureKind(plain))
        except ValueError:
            allowed = ", ".join(sorted(FailureKind))
            raise ConfigError(
                f"no kind of failure is called {word!r}{near(plain, list(FailureKind))}", f"one of: {allowed}"
            ) from None
    return frozenset(found)


def choose(
    rows: Sequence[TaskReport], tasks: Sequence[Task], named: Collection[str], kinds: Collection[FailureKind]
) -> RetrySelection:
    """What is to be tried again.

    Args:
        rows: the state of every task.
        tasks: every task.
        named: names of tasks; empty for every one that failed or stopped.
        kinds: of failure; empty for all.
    """
    chosen, refused = [], {}
    for row in rows:
        if named and row.name not in named:
            continue
        if row.status is TaskStatus.DIVERGED:
            refused[row.name] = "diverged: that is its result, and it is not tried again"
        elif row.status not in _AGAIN:
            refused[row.name] = f"is {row.status}" if named else ""
        elif kinds and row.kind not in kinds:
            refused[row.name] = f"is {row.status} by {row.kind or 'nothing known'}" if named else ""
        else:
            chosen.append(row)
    again = {row.name for row in chosen}
    never = {row.name for row in rows if row.status is TaskStatus.WAITING}
    waiting: dict[str, None] = {}
    for task in tasks:  # each after those that it needs
        if task.name in never and any(need in again or need in waiting for need in task.needs) and not named:
            waiting[task.name] = None
    return RetrySelection(tuple(chosen), tuple(waiting), {name: why for name, why in refused.items() if why})


def memory_factors(again: RetrySelection, folder: StudyDir) -> dict[str, float]:
    """Task → how many times the memory: twice what it had when that was not enough, else what it had."""
    had = last_memory_factors(folder)
    factors = {}
    for row in again.rows:
        factor = next_memory_factor(had.get(row.name, 1.0), row.kind)
        if factor != 1.0:
            factors[row.name] = factor
    return factors


def newest(folder: StudyDir) -> Submission | None:
    """The record of what was sent last; None where nothing was sent to a cluster."""
    found = submissions(folder)
    return found[-1][1] if found else None
