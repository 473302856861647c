"""Progress of a task: plain lines in a log, and a file for other processes."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from nllgen.study.quantities import duration

_LINE_EVERY_S = 10.0
_FILE_EVERY_S = 5.0


Update = Callable[[int, str], None]  # (number that is done, what the last step measured) is shown
Display = Callable[[str, int], AbstractContextManager[Update]]  # (title, total) → context in which progress is shown


@contextlib.contextmanager
def plain_lines(title: str, total: int) -> Iterator[Update]:
    """Print a line with the time left every ten seconds, and one at the end."""
    started = line_at = time.monotonic()
    first: tuple[int, float] | None = None  # number that was done at first, and when

    def update(done: int, note: str) -> None:
        nonlocal line_at, first
        now = time.monotonic()
        if first is None:
            first = (done, now)
        if done == total or now - line_at >= _LINE_EVERY_S:
            line_at = now
            left = _left(done - first[0], total - done, now - first[1])
            print(f"{title}  {done}/{total}  {now - started:.0f} s{left}  {note}".rstrip(), flush=True)

    yield update


def _left(num_done: int, num_left: int, elapsed_s: float) -> str:
    """Return for example ``, about 20 s left``; empty where nothing is left, or nothing shows how long it takes."""
    return f", about {duration(elapsed_s / num_done * num_left)} left" if num_done > 0 and num_left > 0 else ""


class TaskProgress:
    """Progress of a task.

    Args:
        update: shows the progress.
        total: number to count to.
        file: file for other processes: a JSON object with done, total, saved, time_s and note, and with the last
            evaluation as measured. Its modification time says when the task was last at work.
        saved: number that was done and saved before.
    """

    def __init__(self, update: Update, total: int, file: Path | None = None, saved: int = 0):
        self._update = update
        self._total = total
        self._done = self._saved = saved
        self._note = ""
        self._measured: dict[str, float] = {}
        self._file = file
        self._started = time.monotonic()
        self._file_at = -_FILE_EVERY_S

    def set(self, done: int, note: str = "") -> None:
        """Set the number that is done, and what the last step measured."""
        self._done, self._note = done, note
        now = time.monotonic()
        if now - self._file_at >= _FILE_EVERY_S:
            self._write(now)
        self._update(done, note)

    def add(self, n: int) -> None:
        """Add to the number that is done."""
        self.set(self._done + n)

    def set_saved(self, done: int) -> None:
        """Set the number that is safe in a checkpoint."""
        self._saved = done
        self._write(time.monotonic())

    def set_measured(self, values: Mapping[str, float]) -> None:
        """Set what the last evaluation measured; JSON has no place for what is not finite."""
        self._measured = {name: float(value) for name, value in values.items() if math.isfinite(value)}

    def _write(self, now: float) -> None:
        """Replace the file in one step, so that readers never see half of it; ignore a failure."""
        self._file_at = now
        if self._file is None:
            return
        elapsed = round(now - self._started, 1)
        line = {"done": self._done, "total": self._total, "saved": self._saved, "time_s": elapsed, "note": self._note}
        measured = {"measured": self._measured} if self._measured else {}
        with contextlib.suppress(OSError):
            part = self._file.with_name(f"{self._file.name}.part")
            part.unlink(missing_ok=True)
            with part.open("x") as file:
                file.write(json.dumps(line | measured))
            part.replace(self._file)
