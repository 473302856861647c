"""How far a task is: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY_S = 10.0


class TaskProgress:
    """Counts towards a total; ``note`` is what the last step measured."""

    def __init__(self, title: str, total: int):
        self._title = title
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._line_at = self._started
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                transient=True,
            )
            self._row = self._bar.add_task(title, total=total, note="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def at(self, done: int, note: str = "") -> None:
        """Say that ``done`` of the total are done."""
        self._done = done
        now = time.monotonic()
        if self._bar:
            self._bar.update(self._row, completed=done, note=note)
        elif done == self._total or now - self._line_at >= _LINE_EVERY_S:
            self._line_at = now
            print(f"{self._title}  {done}/{self._total}  {now - self._started:.0f} s  {note}".rstrip(), flush=True)

    def more(self, n: int) -> None:
        """Say that n more are done."""
        self.at(self._done + n)
