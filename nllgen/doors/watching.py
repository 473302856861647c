"""What became of a study: tables, once or again and again."""

from __future__ import annotations

import click

from nllgen.doors import MAX_ROWS, show, table
from nllgen.launch.status import TaskStatus, hints, status, to_json
from nllgen.store.study_dir import StudyDir


def show_status(rows: list[TaskStatus]) -> None:
    """Counts, and a table of all tasks that are not simply done."""
    counts = to_json(rows)["counts"]
    found = table("id", "run", "state", "attempts", "detail", "log")
    for row in rows[:MAX_ROWS]:
        found.add_row(row.name, row.label, row.state, str(row.attempts), row.detail, row.log)
    left_out = len(rows) - MAX_ROWS
    show(found, f"… and {left_out} more (all with --json)" if left_out > 0 else "")
    show(", ".join(f"{count} {state}" for state, count in counts.items() if count))


def look(folder: StudyDir) -> list[TaskStatus]:
    """The state of every task; what the scheduler cannot tell is said on standard error."""
    study = folder.read_study()
    live, trouble = hints(folder, study)
    if trouble:
        click.echo(trouble, err=True)
    return status(folder, study, live)
