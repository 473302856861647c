"""Display of one task's progress: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nllgen.worker.progress import Display, MakeDisplay


def task_display() -> MakeDisplay:
    """Return the display that fits standard output."""
    from nllgen.worker.progress import plain_lines

    return progress_bar if sys.stdout.isatty() else plain_lines


@contextlib.contextmanager
def progress_bar(title: str, total: int) -> Iterator[Display]:
    """Yield a bar that is redrawn in place and removed at the end; lines that are printed meanwhile stay above it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # neither titles nor notes are rich's markup
    texts = [TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[note]")]
    with Progress(texts[0], *columns, texts[1], transient=True) as bar:
        yield _Bar(bar, title, total)


class _Bar:
    def __init__(self, bar: Any, title: str, total: int):
        self._bar = bar
        self._task = bar.add_task(title, total=total, note="")

    def update(self, done: int, note: str) -> None:
        self._bar.update(self._task, completed=done, note=note)
