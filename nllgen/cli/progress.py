"""Progress of a study, and of one task: redrawn on a terminal, repeated now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from nllgen.cli.output import make_console

if TYPE_CHECKING:
    from rich.progress import Progress

    from nllgen.launch.follow import ProgressLine
    from nllgen.worker.progress import Display, Update

_LOG_INTERVAL_S = 15.0


@contextlib.contextmanager
def progress_line(echo: Callable[[str], None]) -> Iterator[ProgressLine]:
    """Yield a line of progress for standard output; ``echo`` prints it where that is no terminal."""
    if not sys.stdout.isatty():
        yield _LogLine(echo)
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(30), TextColumn("{task.description}"))
    with Progress(*columns, console=make_console(), transient=True) as bar:
        yield _TerminalLine(bar)


def progress_text(num_done: int, num_tasks: int, seconds_left: float | None) -> str:
    """Return for example ``12 of 30 runs done, about 2 min left``."""
    from nllgen.launch.status import duration

    left = "" if seconds_left is None else f", about {duration(seconds_left)} left"
    return f"{num_done} of {num_tasks} runs done{left}"


class _LogLine:
    def __init__(self, echo: Callable[[str], None]):
        self.echo = echo
        self._printed_at = time.monotonic()

    def update(self, num_done: int, num_tasks: int, share: float, seconds_left: float | None) -> None:
        if time.monotonic() - self._printed_at >= _LOG_INTERVAL_S:
            self._printed_at = time.monotonic()
            self.echo(f"{time.strftime('%H:%M:%S')}  {progress_text(num_done, num_tasks, seconds_left)}")


class _TerminalLine:
    def __init__(self, bar: Progress):
        self._bar = bar
        self._task = bar.add_task("starting", total=1.0)

    def echo(self, text: str) -> None:
        self._bar.console.print(text)

    def update(self, num_done: int, num_tasks: int, share: float, seconds_left: float | None) -> None:
        self._bar.update(self._task, completed=share, description=progress_text(num_done, num_tasks, seconds_left))


def task_display() -> Display:
    """Return the display that fits standard output."""
    from nllgen.worker.progress import plain_lines

    return progress_bar if sys.stdout.isatty() else plain_lines


@contextlib.contextmanager
def progress_bar(title: str, total: int) -> Iterator[Update]:
    """Show a bar that is redrawn in place and removed at the end; lines that are printed meanwhile stay above it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # neither titles nor notes are rich's markup
    texts = [TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[note]")]
    with Progress(texts[0], *columns, texts[1], console=make_console(), transient=True) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)
