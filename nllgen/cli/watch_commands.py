"""The commands that watch a study: status, logs."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import cloup

from nllgen.cli.options import JSON, example, study_argument
from nllgen.cli.output import MAX_ROWS, echo, echo_part, print_json, print_rows, print_tables, table, warn
from nllgen.errors import EXIT_CELLS_FAILED, EXIT_DONE, ConfigError

if TYPE_CHECKING:
    from nllgen.launch.status import TaskReport
    from nllgen.storage.study_dir import StudyDir


@cloup.command(epilog=example("nllgen status smoke", "nllgen status --watch runs/smoke"))
@study_argument
@cloup.option("--watch", is_flag=True, help="Update until no cell runs or waits; Ctrl-C ends the display alone.")
@JSON
def status(study_dir: StudyDir, watch: bool, as_json: bool) -> None:
    """Show the state of every cell.

    Ends with 1 if a cell failed."""
    from nllgen.launch.collection import collection_note
    from nllgen.launch.status import to_json
    from nllgen.launch.watch import has_failed, query_status

    if watch and as_json:
        raise ConfigError("--watch and --json exclude each other", "leave out one of them")
    if watch:
        rows = _watch(study_dir)
    else:
        rows, trouble = query_status(study_dir, study_dir.read_study())
        note = collection_note(study_dir, rows, trouble)
        print_json(to_json(rows, trouble) | {"collection": note}) if as_json else _print_status(rows, trouble, note)
    sys.exit(EXIT_CELLS_FAILED if has_failed(rows) else EXIT_DONE)


def _watch(study_dir: StudyDir) -> list[TaskReport]:
    """Show the state until the study is over or Ctrl-C; return the last state, or no rows after Ctrl-C."""
    from nllgen.launch.watch import watch_changes

    study = study_dir.read_study()
    with contextlib.suppress(KeyboardInterrupt):
        if not sys.stdout.isatty():
            return watch_changes(study_dir, study, echo)
        from nllgen.cli.screen import watch_on_screen

        return watch_on_screen(study_dir, study)
    return []


def _print_status(rows: list[TaskReport], trouble: str, note: str) -> None:
    from nllgen.launch.watch import counts_line

    if trouble:
        warn(trouble)
    lines = table("id", "run", "state", "attempts", "progress", "job", "detail", "log")
    for row in rows[:MAX_ROWS]:
        progress = f"{row.step}/{row.steps}" if row.steps else ""
        lines.add_row(
            row.name, row.label, row.status, str(row.attempts), progress, row.job, row.detail or row.note, row.log
        )
    print_rows(lines, len(rows))
    print_tables(counts_line(rows), *filter(None, [note]))


@cloup.command(epilog=example("nllgen logs smoke truth", "nllgen logs -f smoke 3f2a"))
@study_argument
@cloup.argument("cell", help="Id of a cell, a unique beginning of it, truth or dataset.")
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
