"""How far a task is: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY_S = 10.0
_FILE_EVERY_S = 5.0


class TaskProgress:
    """Counts towards a total; ``note`` is what the last step measured.

    Args:
        title: what is being done.
        total: to count to.
        file: for those who look on from elsewhere: a line of JSON with done, total, saved, time and note. Its
            modification time says when the task was last known to be at work.
        saved: what has been done and saved before.
    """

    def __init__(self, title: str, total: int, file: Path | None = None, saved: int = 0):
        self._title = title
        self._total = total
        self._done = saved
        self._note = ""
        self._saved = saved
        self._file = file
        self._started = time.monotonic()
        self._line_at = self._started
        self._file_at = -_FILE_EVERY_S
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
        self._done, self._note = done, note
        now = time.monotonic()
        if now - self._file_at >= _FILE_EVERY_S:
            self._write(now)
        if self._bar:
            self._bar.update(self._row, completed=done, note=note)
        elif done == self._total or now - self._line_at >= _LINE_EVERY_S:
            self._line_at = now
            print(f"{self._title}  {done}/{self._total}  {now - self._started:.0f} s  {note}".rstrip(), flush=True)

    def more(self, n: int) -> None:
        """Say that n more are done."""
        self.at(self._done + n)

    def saved(self, done: int) -> None:
        """Say that a checkpoint of this moment is on the disk."""
        self._saved = done
        self._write(time.monotonic())

    def _write(self, now: float) -> None:
        """Replaced at once, so that a reader never sees half of it; where it cannot be, training goes on."""
        self._file_at = now
        if self._file is None:
            return
        elapsed = round(now - self._started, 1)
        line = {"done": self._done, "total": self._total, "saved": self._saved, "time_s": elapsed, "note": self._note}
        with contextlib.suppress(OSError):
            aside = self._file.with_name(f"{self._file.name}.part")
            aside.unlink(missing_ok=True)
            with aside.open("x") as file:
                file.write(json.dumps(line))
            aside.replace(self._file)
