"""Settings of a task's run, none of which changes its numbers; printing and damaged files, the same for every task."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import torch

from nllgen.storage.atomic import set_aside
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.worker.progress import Display, plain_lines


class Stop(Protocol):
    """A request to stop, which may come at any time."""

    def __call__(self) -> bool:
        """Return whether a stop was asked for."""

    def interruptible(self) -> AbstractContextManager[None]:
        """Return a context in which a stop raises StoppedError at once, for long work that keeps no state."""


class NeverStop:
    """A request to stop that never comes."""

    def __call__(self) -> bool:
        """Return False."""
        return False

    def interruptible(self) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return nullcontext()


@dataclass(frozen=True)
class Settings:
    """Settings of a task's run.

    Attributes:
        device: device of torch.
        options: the worker's options.
        order: task, with name and number of the attempt.
        stop: request to stop.
        display: shows the task's progress.
        started_at: time of the start, ISO 8601 in UTC.
    """

    device: torch.device
    options: RunOptions
    order: TaskOrder
    stop: Stop = field(default_factory=NeverStop)
    display: Display = plain_lines
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def echo(text: str) -> None:
    """Print a line in the log."""
    print(text, flush=True)


def move_aside(path: Path, reason: str, then: str = "running again") -> None:
    """Rename a file that does not count to a free name, ``<name>.damaged`` or ``<name>.damaged.2``, and print why.

    Args:
        path: the file; nothing is done where another process has moved it already.
        reason: why it does not count.
        then: what is done next, for the message.
    """
    if (aside := set_aside(path)) is not None:
        echo(f"{reason}\nmoved to {aside.name}, {then}")
