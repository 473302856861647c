"""Display of one task's progress: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nllgen.worker.progress import Display, Update


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
    with Progress(texts[0], *columns, texts[1], transient=True) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)
