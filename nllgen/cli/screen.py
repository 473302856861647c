"""The state of a study on the whole screen of a terminal, updated every two seconds."""

from __future__ import annotations

import time
from collections import Counter

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nllgen.cli.output import make_console
from nllgen.launch.eta import Throughput, ThroughputMeter
from nllgen.launch.slurm.waits import wait_lines
from nllgen.launch.status import TaskReport
from nllgen.launch.watch import counts_line, is_over, query_status
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.untrusted import escape_controls
from nllgen.study.config import Study
from nllgen.study.quantities import duration

_REFRESH_S = 2.0
_NUM_OTHER_LINES = 5  # counts, throughput, headings, rows that are left out, the scheduler
_NUM_WAIT_LINES = 3  # reasons that are explained
_LINES_OF_WAIT = 3  # of the screen, at 80 columns
_ORDER = (
    TaskStatus.RUNNING,
    TaskStatus.FAILED,
    TaskStatus.DAMAGED,
    TaskStatus.STALE,
    TaskStatus.VANISHED,
    TaskStatus.LOCKED,
    TaskStatus.WEIGHTLESS,
    TaskStatus.STOPPED,
    TaskStatus.QUEUED,
    TaskStatus.WAITING,
    TaskStatus.DIVERGED,
    TaskStatus.DONE,
)


def watch_on_screen(study_dir: StudyDir, study: Study) -> list[TaskReport]:
    """Show the state until the study is over; return its last state."""
    meter = ThroughputMeter(study)
    console = make_console()
    with Live(console=console, auto_refresh=False, transient=False, vertical_overflow="crop") as live:
        while True:
            began = time.monotonic()
            rows, trouble = query_status(study_dir, study)
            live.update(screen(rows, trouble, meter.query(rows), console.height), refresh=True)
            if is_over(rows, trouble):
                return rows
            # a query that takes long is repeated less often
            time.sleep(max(_REFRESH_S, 2 * (time.monotonic() - began)))


def screen(rows: list[TaskReport], trouble: str, throughput: Throughput, height: int) -> Group:
    """Return the state in at most ``height`` lines, running tasks first."""
    waits = wait_lines(row.wait for row in rows if row.wait)[:_NUM_WAIT_LINES]
    num_rows = max(1, height - _NUM_OTHER_LINES - len(waits) * _LINES_OF_WAIT)
    ordered = sorted(rows, key=lambda row: _ORDER.index(row.status))
    tasks = Table("id", "run", "state", "progress", "", "measured", box=None, header_style="bold", pad_edge=False)
    for column in tasks.columns:
        column.no_wrap = True
    for row in ordered[:num_rows]:
        steps = f"{row.step}/{row.steps}" if row.steps else ""
        detail = escape_controls(row.note if row.status is TaskStatus.RUNNING and row.note else row.short_detail)
        tasks.add_row(row.name, row.label, row.status, _bar(row), steps, detail)
    parts: list[RenderableType] = [Text(counts_line(rows)), Text(throughput_line(throughput)), tasks]
    if len(rows) > num_rows:
        left_out = Counter(row.status for row in ordered[num_rows:])
        parts.append(Text("… and " + ", ".join(f"{count} {state}" for state, count in left_out.items())))
    parts += [Text(line) for line in waits]
    if trouble:
        parts.append(Text(trouble))
    return Group(*parts)


def _bar(row: TaskReport) -> ProgressBar | str:
    return ProgressBar(row.steps, row.step, width=20) if row.status is TaskStatus.RUNNING and row.steps else ""


def throughput_line(throughput: Throughput) -> str:
    """Return for example ``12.0 cells an hour, about 2 h 5 min left``."""
    parts = []
    if throughput.cells_per_hour is not None:
        parts.append(f"{throughput.cells_per_hour:,.1f} cells an hour")
    if throughput.steps_per_hour is not None:
        parts.append(f"{throughput.steps_per_hour:,.0f} steps an hour")
    if throughput.seconds_left is not None:
        parts.append(f"about {duration(throughput.seconds_left)} left")
    return ", ".join(parts) or "no throughput is known yet"
