"""What became of a study: tables, once or again and again, and what its tasks print."""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from nllgen.cli.common import MAX_ROWS, print_json, show, table
from nllgen.errors import EXIT_CELLS_FAILED, EXIT_DONE, ConfigError
from nllgen.launch.logs import Follower, job_log
from nllgen.launch.slurm.commands import HINT_S
from nllgen.launch.status import TaskReport, count_by_status, query_scheduler, status, to_json
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.storage.untrusted import escape_controls
from nllgen.study.config import Study
from nllgen.study.diagnostics import did_you_mean

_POLL_S = 0.5
_LOOK_S = 5.0
_FAILED = (TaskStatus.FAILED, TaskStatus.DAMAGED)
_ACTIVE = (TaskStatus.RUNNING, TaskStatus.QUEUED)


def query(folder: StudyDir, study: Study, patience_s: float | None = HINT_S) -> tuple[list[TaskReport], str]:
    """The state of every task, and why the scheduler could not be asked; empty where it could."""
    live, trouble = query_scheduler(folder, study, patience_s)
    return status(folder, study, live), trouble


def show_status(rows: list[TaskReport], trouble: str = "") -> None:
    """Counts, and a table of the tasks."""
    if trouble:
        click.echo(trouble, err=True)
    found = table("id", "run", "state", "attempts", "progress", "job", "detail", "log")
    for row in rows[:MAX_ROWS]:
        found.add_row(
            row.name, row.label, row.status, str(row.attempts), progress(row), row.job, row.detail or row.note, row.log
        )
    left_out = len(rows) - MAX_ROWS
    show(found, f"… and {left_out} more (all with --json)" if left_out > 0 else "")
    show(counts_line(rows))


def counts_line(rows: list[TaskReport]) -> str:
    """How many are in which state."""
    return ", ".join(f"{count} {state}" for state, count in count_by_status(rows).items() if count)


def progress(row: TaskReport) -> str:
    """Such as ``120/400``."""
    return f"{row.step}/{row.steps}" if row.steps else ""


def exit_code(rows: Sequence[TaskReport]) -> int:
    """1 if a task failed or its result is damaged, 0 while all is well."""
    return EXIT_CELLS_FAILED if any(row.status in _FAILED for row in rows) else EXIT_DONE


def print_status(folder: StudyDir, *, as_json: bool) -> int:
    """The state once; returns the exit code."""
    gc.disable()  # of ten thousand cells none is let go before the end: it would look at all of them again and again
    rows, trouble = query(folder, folder.read_study())
    gc.enable()
    print_json(to_json(rows, trouble)) if as_json else show_status(rows, trouble)
    return exit_code(rows)


def watch(folder: StudyDir) -> int:
    """Show the state until nothing is left to wait for; Ctrl-C leaves, and the study runs on.

    Returns:
        The exit code.
    """
    study = folder.read_study()
    with contextlib.suppress(KeyboardInterrupt):
        if sys.stdout.isatty():
            from nllgen.cli.screen import watch_on_screen

            return exit_code(watch_on_screen(folder, study))
        return exit_code(_watch_in_lines(folder, study))
    return EXIT_DONE


def _watch_in_lines(folder: StudyDir, study: Study) -> list[TaskReport]:
    shown: dict[str, TaskStatus] = {}
    trouble = ""
    while True:
        rows, said = query(folder, study)
        if said != trouble:
            click.echo(said or "the scheduler answers again")
            trouble = said
        num_done = sum(row.has_result for row in rows)
        for row in rows:
            if row.status != shown.get(row.name, TaskStatus.WAITING):
                line = f"{row.status:<9} {row.name}  {row.label}  {row.detail}".rstrip()
                click.echo(f"{time.strftime('%H:%M:%S')}  [{num_done}/{len(rows)}]  {line}")
            shown[row.name] = row.status
        if is_over(rows, trouble):
            click.echo(counts_line(rows))
            return rows
        time.sleep(_LOOK_S)


def is_over(rows: Sequence[TaskReport], trouble: str) -> bool:
    """Whether nothing runs or is queued; not while the scheduler, which would know, does not answer."""
    if all(row.has_result for row in rows):
        return True
    return not trouble and not any(row.status in _ACTIVE for row in rows)


def tasks_named(folder: StudyDir, study: Study, words: Sequence[str]) -> list[Task]:
    """Tasks by id, by a unique beginning of one, or ``truth`` or ``dataset``.

    Raises:
        ConfigError: there is none, or more than one; with near matches.
    """
    tasks = {task.name: task for task in tasks_of(study, folder)}
    found = {}
    for word in words:
        names = [word] if word in tasks else [name for name in tasks if word and name.startswith(word)]
        if len(names) > 1:
            raise ConfigError(f"{len(names)} ids begin with {word!r}: {', '.join(names[:5])}", "give more of it")
        if not names:
            hint = f"`nllgen status {folder.path}` lists the ids; a unique beginning will do"
            raise ConfigError(f"study {study.name} has no cell {word!r}{did_you_mean(word, tasks)}", hint)
        found[names[0]] = tasks[names[0]]
    return list(found.values())


def logs(folder: StudyDir, word: str, *, follow: bool, of_job: bool) -> None:
    """Print a task's log, or that of the job that ran it last; with ``follow`` until the task ends or Ctrl-C.

    Raises:
        ConfigError: there is no such task, or it has printed nothing.
    """
    study = folder.read_study()
    (task,) = tasks_named(folder, study, [word])
    path = job_log(folder, task) if of_job else task.log
    if not follow and not path.exists():
        hint = f"see: nllgen status {folder.path}; -f waits for it"
        raise ConfigError(f"{task.label} has printed nothing so far: {path} is not there", hint)
    with contextlib.suppress(KeyboardInterrupt):
        for text in _parts(path, _ended_or_not(folder, study, task.name) if follow else lambda: True):
            click.echo(escape_controls(text) if sys.stdout.isatty() else text, nl=False)


def _parts(path: Path, is_over: Callable[[], bool]) -> Iterator[str]:
    """What is in a file and, until it is over, what comes."""
    follower = Follower(path)
    while True:
        over = is_over()  # asked before: what it said last is read
        while text := follower.read():
            yield text
        if over:
            return
        time.sleep(_POLL_S)


def _ended_or_not(folder: StudyDir, study: Study, name: str) -> Callable[[], bool]:
    asked = -_LOOK_S

    def ended() -> bool:
        nonlocal asked
        if time.monotonic() - asked < _LOOK_S:
            return False
        asked = time.monotonic()
        rows, trouble = query(folder, study)
        row = next(row for row in rows if row.name == name)
        # a job that the scheduler cannot be asked about may start it again
        return row.status not in (*_ACTIVE, TaskStatus.WAITING) and (not trouble or row.has_result)

    return ended
