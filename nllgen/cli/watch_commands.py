"""The commands that watch a study: status, logs."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import cloup

from nllgen.cli.completion import complete_cells
from nllgen.cli.numbers import SORT, number_columns, read_numbers, sorted_rows, with_numbers
from nllgen.cli.options import JSON, example, study_argument
from nllgen.cli.output import (
    MAX_ROWS,
    echo,
    echo_part,
    print_json,
    print_rows,
    print_tables,
    table,
    terminal_width,
    warn,
)
from nllgen.errors import EXIT_CELLS_FAILED, EXIT_DONE, ConfigError

_WIDE = 120  # columns of a terminal that hold all columns of the table

if TYPE_CHECKING:
    from nllgen.launch.slurm.live_jobs import LiveJobs
    from nllgen.launch.status import TaskReport
    from nllgen.storage.study_dir import StudyDir


@cloup.command(
    epilog=example("nllgen status smoke", "nllgen status smoke --sort kl", "nllgen status --watch runs/smoke")
)
@study_argument
@SORT
@cloup.option("--watch", is_flag=True, help="Update until no cell runs or waits; Ctrl-C ends the display alone.")
@JSON
def status(study_dir: StudyDir, sort: str | None, watch: bool, as_json: bool) -> None:
    """Show the state of every cell, and its numbers.

    These are the final ones, or in parentheses those of the last evaluation. Ends with 1 if a cell failed."""
    from nllgen.launch.watch import has_failed

    if watch and (as_json or sort):
        raise ConfigError(
            f"--watch and {'--json' if as_json else '--sort'} exclude each other", "leave out one of them"
        )
    rows = _watch(study_dir) if watch else _status(study_dir, sort, as_json=as_json)
    sys.exit(EXIT_CELLS_FAILED if has_failed(rows) else EXIT_DONE)


def _status(study_dir: StudyDir, sort: str | None, *, as_json: bool) -> list[TaskReport]:
    """Print the state of every task once, and return it."""
    from nllgen.launch.collection import collection_note
    from nllgen.launch.status import query_scheduler, to_json
    from nllgen.launch.status import status as report_status

    study = study_dir.read_study()
    live, trouble = query_scheduler(study_dir, study)
    rows = report_status(study_dir, study, live)
    note = collection_note(study_dir, rows, trouble)
    rows, numbers = sorted_rows(study_dir, study, rows, sort)
    if as_json:
        print_json(with_numbers(to_json(rows, trouble, live), numbers) | {"uncollected": note})
    else:
        shown = rows[:MAX_ROWS]  # results of other rows are not read
        columns = number_columns(shown, numbers or read_numbers(study_dir, study, shown))
        _print_status(rows, columns, trouble, live, note)
    return rows


def _watch(study_dir: StudyDir) -> list[TaskReport]:
    """Show the state until the study is over or Ctrl-C; return the last state, or no rows after Ctrl-C."""
    from nllgen.cli.progress import progress_line
    from nllgen.launch.watch import watch_changes

    study = study_dir.read_study()
    with contextlib.suppress(KeyboardInterrupt):
        if not sys.stdout.isatty():
            return watch_changes(study_dir, study, progress_line(echo))
        from nllgen.cli.screen import watch_on_screen

        return watch_on_screen(study_dir, study)
    return []


def _print_status(
    rows: list[TaskReport], numbers: dict[str, list[str]], trouble: str, live: LiveJobs | None, note: str
) -> None:
    from nllgen.launch.slurm.waits import collection_wait, wait_lines
    from nllgen.launch.watch import counts_line

    if trouble:
        warn(trouble)
    if live and live.num_unread:
        warn(f"{live.num_unread} lines that squeue printed are no lines of jobs; they were skipped")
    columns = _columns(rows[:MAX_ROWS], numbers, is_narrow=terminal_width() < _WIDE)
    lines = table(*columns)
    for texts in zip(*columns.values(), strict=True):
        lines.add_row(*texts)
    print_rows(lines, len(rows))
    waits = wait_lines(filter(None, [*(row.wait for row in rows), collection_wait(live)]))
    print_tables(counts_line(rows), *filter(None, [*waits, note]))


def _columns(rows: list[TaskReport], numbers: dict[str, list[str]], *, is_narrow: bool) -> dict[str, list[str]]:
    """Return heading → texts; a narrow terminal gets the columns that have something, without the logs' paths."""
    columns = {
        "id": [row.name for row in rows],
        "run": [row.label for row in rows],
        "state": [str(row.status) for row in rows],
        "attempts": [str(row.attempts) for row in rows],
        "progress": [f"{row.step}/{row.steps}" if row.steps else "" for row in rows],
        **{name: texts for name, texts in numbers.items() if any(texts)},
        "job": [row.job for row in rows],
        "detail": [row.short_detail or row.note for row in rows],
        "log": [row.log for row in rows],
    }
    if not is_narrow:
        return columns
    return {name: texts for name, texts in columns.items() if name not in ("attempts", "log") and any(texts)}


@cloup.command(epilog=example("nllgen logs smoke truth", "nllgen logs -f smoke 3f2a"))
@study_argument
@cloup.argument("cell", help="Id of a cell, a unique beginning of it, truth or dataset.", shell_complete=complete_cells)
@cloup.option("-f", "--follow", is_flag=True, help="Print further lines until the cell has ended.")
@cloup.option("--job", "of_job", is_flag=True, help="Print the log of the job that ran the cell last.")
def logs(study_dir: StudyDir, cell: str, follow: bool, of_job: bool) -> None:
    """Print the log of a cell."""
    from nllgen.launch.watch import Follower, follow_log, job_log, tasks_named

    study = study_dir.read_study()
    (task,) = tasks_named(study_dir, study, [cell])
    path = job_log(study_dir, task) if of_job else task.log
    if not follow and not path.exists():
        hint = f"see: nllgen status {study_dir.path}; -f waits for it, --job prints what its job has printed"
        raise ConfigError(f"{task.label} has printed nothing yet: {path} does not exist", hint)
    parts = follow_log(study_dir, study, task.name, path) if follow else iter(Follower(path).read, "")
    with contextlib.suppress(KeyboardInterrupt):
        for text in parts:
            echo_part(text)
