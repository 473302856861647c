"""A study on the terminal's whole screen, every two seconds anew."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nllgen.cli.watching import counts_line, is_over, query
from nllgen.launch.eta import Throughput, ThroughputMeter, duration
from nllgen.launch.status import TaskReport
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.untrusted import escape_controls
from nllgen.study.config import Study

_REFRESH_S = 2.0
_FRAME = 5  # lines that are not rows: counts, pace, headings, what was left out, the scheduler
_ORDER = (
    TaskStatus.RUNNING,
    TaskStatus.FAILED,
    TaskStatus.DAMAGED,
    TaskStatus.STALE,
    TaskStatus.STOPPED,
    TaskStatus.QUEUED,
    TaskStatus.WAITING,
    TaskStatus.DIVERGED,
    TaskStatus.DONE,
)


def watch_on_screen(folder: StudyDir, study: Study) -> list[TaskReport]:
    """Until nothing is left to wait for; returns what was shown last."""
    meter = ThroughputMeter(study)
    console = Console(highlight=False, markup=False)
    with Live(console=console, auto_refresh=False, transient=False, vertical_overflow="crop") as live:
        while True:
            began = time.monotonic()
            rows, trouble = query(folder, study)
            live.update(screen(rows, trouble, meter.query(rows), console.height), refresh=True)
            if is_over(rows, trouble):
                return rows
            # what takes long to look at is looked at less often
            time.sleep(max(_REFRESH_S, 2 * (time.monotonic() - began)))


def screen(rows: list[TaskReport], trouble: str, throughput: Throughput, height: int) -> Group:
    """What is shown at one moment, in so many lines."""
    room = max(1, height - _FRAME)
    ordered = sorted(rows, key=lambda row: _ORDER.index(row.status))
    found = Table("id", "run", "state", "progress", "", "measured", box=None, header_style="bold", pad_edge=False)
    for column in found.columns:
        column.no_wrap = True
    for row in ordered[:room]:
        steps = f"{row.step}/{row.steps}" if row.steps else ""
        what = escape_controls(row.note if row.status is TaskStatus.RUNNING and row.note else row.detail)
        found.add_row(row.name, row.label, row.status, _bar(row), steps, what)
    parts: list[Any] = [Text(counts_line(rows)), Text(pace_line(throughput)), found]
    if len(rows) > room:
        left = Counter(row.status for row in ordered[room:])
        parts.append(Text("… and " + ", ".join(f"{count} {state}" for state, count in left.items())))
    if trouble:
        parts.append(Text(trouble))
    return Group(*parts)


def _bar(row: TaskReport) -> ProgressBar | str:
    return ProgressBar(row.steps, row.step, width=20) if row.status is TaskStatus.RUNNING and row.steps else ""


def pace_line(throughput: Throughput) -> str:
    """How fast and how long, as far as it is known."""
    parts = []
    if throughput.cells_per_hour is not None:
        parts.append(f"{throughput.cells_per_hour:,.1f} cells an hour")
    if throughput.steps_per_hour is not None:
        parts.append(f"{throughput.steps_per_hour:,.0f} steps an hour")
    if throughput.seconds_left is not None:
        parts.append(f"about {duration(throughput.seconds_left)} left")
    return ", ".join(parts) or "nothing can be said of its pace yet"
