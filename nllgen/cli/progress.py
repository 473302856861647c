"""Progress of a study, of one task, and of a command: redrawn on a terminal, repeated now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from nllgen.cli.output import make_console

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from nllgen.launch.watch import ProgressLine
    from nllgen.worker.progress import Display, Update

_LOG_INTERVAL_S = 15.0
_SILENT_S = 5.0  # a command that ends sooner prints no line into a log
_REDRAW_S = 0.1

Count = Callable[[int, int], None]  # (number that is done, number of all) is shown


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
    from nllgen.study.quantities import duration

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


@contextlib.contextmanager
def counted(title: str, echo: Callable[[str], None]) -> Iterator[Count]:
    """Yield a function that is told how much of a command's work is done; ``echo`` prints lines into a log.

    No thread is started, so that a command may fork.
    """
    if not sys.stdout.isatty():
        yield _LogCount(title, echo).update
        return
    from rich.progress import Progress

    with Progress(*_columns(), console=make_console(), transient=True, auto_refresh=False) as bar:
        task, drawn_at = bar.add_task(title, total=None, note=""), 0.0
        bar.refresh()

        def update(done: int, total: int) -> None:
            nonlocal drawn_at
            bar.update(task, completed=done, total=total)
            if time.monotonic() - drawn_at >= _REDRAW_S or done == total:
                drawn_at = time.monotonic()
                bar.refresh()

        yield update


class _LogCount:
    """Lines of a command's progress: the first after five seconds, then one every quarter of a minute."""

    def __init__(self, title: str, echo: Callable[[str], None]):
        self._title, self._echo = title, echo
        self._started = time.monotonic()
        self._due = self._started + _SILENT_S
        self._done = 0

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < self._done:  # another file
            self._started = now
        self._done = done
        if now >= self._due and done < total:
            self._due = now + _LOG_INTERVAL_S
            self._echo(f"{time.strftime('%H:%M:%S')}  {self._title}: {count_text(done, total, now - self._started)}")


def count_text(done: int, total: int, elapsed_s: float) -> str:
    """Return for example ``3 of 13, about 20 s left``."""
    from nllgen.study.quantities import duration

    left = f", about {duration(elapsed_s / done * (total - done))} left" if done else ""
    return f"{done:,} of {total:,}{left}"


def task_display() -> Display:
    """Return the display that fits standard output."""
    from nllgen.worker.progress import plain_lines

    return progress_bar if sys.stdout.isatty() else plain_lines


@contextlib.contextmanager
def progress_bar(title: str, total: int) -> Iterator[Update]:
    """Show a bar that is redrawn in place and removed at the end; lines that are printed meanwhile stay above it."""
    from rich.progress import Progress

    with Progress(*_columns(), console=make_console(), transient=True) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


def _columns() -> list[ProgressColumn]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    # neither titles nor notes are rich's markup
    texts = [TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[note]")]
    return [texts[0], BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), texts[1]]
