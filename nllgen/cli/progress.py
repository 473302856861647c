"""One line of overall progress: redrawn on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from nllgen.launch.eta import duration

Say = Callable[[str], None]
_EVERY_S = 15.0  # between two lines in a log


class ProgressLine(Protocol):
    """A line that is kept up to date below what is said."""

    def echo(self, text: str) -> None:
        """Print a line for good."""

    def update(self, num_done: int, num_tasks: int, share: float, seconds_left: float | None) -> None:
        """Show how far the work is.

        Args:
            num_done: tasks with a result.
            num_tasks: all tasks.
            share: of all work that is done, in [0, 1].
            seconds_left: estimated; None where nothing can be said.
        """


@contextlib.contextmanager
def progress_line(echo: Say) -> Iterator[ProgressLine]:
    """Yield the line that fits standard output; ``say`` prints what stays."""
    if not sys.stdout.isatty():
        yield _InLog(echo)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(30), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(highlight=False, markup=False), transient=True) as bar:
        yield _OnTerminal(bar)


def progress_text(num_done: int, num_tasks: int, seconds_left: float | None) -> str:
    """Return for example ``12 of 30 runs done, about 2 min left``."""
    left = "" if seconds_left is None else f", about {duration(seconds_left)} left"
    return f"{num_done} of {num_tasks} runs done{left}"


class _InLog:
    def __init__(self, echo: Say):
        self.echo = echo
        self._told_at = time.monotonic()

    def update(self, num_done: int, num_tasks: int, share: float, seconds_left: float | None) -> None:
        if time.monotonic() - self._told_at >= _EVERY_S:
            self._told_at = time.monotonic()
            self.echo(f"{time.strftime('%H:%M:%S')}  {progress_text(num_done, num_tasks, seconds_left)}")


class _OnTerminal:
    def __init__(self, bar: Any):
        self._bar = bar
        self._task = bar.add_task("starting", total=1.0)

    def echo(self, text: str) -> None:
        self._bar.console.print(text)

    def update(self, num_done: int, num_tasks: int, share: float, seconds_left: float | None) -> None:
        self._bar.update(self._task, completed=share, description=progress_text(num_done, num_tasks, seconds_left))
