"""A study that was started is followed to its end, here or on a cluster: what changes is said line by line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from nllgen.cli.progress import progress_line
from nllgen.errors import StoppedError
from nllgen.launch.eta import ThroughputMeter
from nllgen.launch.local import failure_of_supervisor
from nllgen.launch.status import TaskReport, query_scheduler, status
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study

Say = Callable[[str], None]


def follow_cluster(folder: StudyDir, study: Study, echo: Say) -> None:
    """Say what changes until the scheduler has nothing left of the study; Ctrl-C leaves the jobs alone."""
    shown: dict[str, TaskStatus] = {}
    trouble = ""
    while True:
        live, said = query_scheduler(folder, study, patience_s=None)
        if said != trouble:
            echo(said or "the scheduler answers again")
            trouble = said
        _say_changes(status(folder, study, live), shown, echo)
        if not trouble and not (live and live.ids):
            return
        time.sleep(5.0)


def wait_here(folder: StudyDir, study: Study, jobs: list[Any], echo: Say) -> None:
    """Follow the run; Ctrl-C asks the workers to stop and waits for their checkpoints."""
    try:
        _follow(folder, study, jobs, echo)
    except KeyboardInterrupt:
        echo("\nstopping: the workers save their state (Ctrl-C once more to leave them to it)")
        folder.stop.touch()
        _join(jobs)
        again = "run the same command again: it goes on where it stopped"
        raise StoppedError(f"{folder.path}: stopped, nothing is lost", again) from None


def _follow(folder: StudyDir, study: Study, jobs: list[Any], echo: Say) -> None:
    shown: dict[str, TaskStatus] = {}
    meter = ThroughputMeter(study)
    with progress_line(echo) as progress:
        while True:
            ended = all(job.done() for job in jobs)
            rows = status(folder, study)
            _say_changes(rows, shown, progress.echo)
            if ended:
                return
            progress.update(*work_done(rows), meter.query(rows).seconds_left)
            time.sleep(1.0 if len(rows) < 100 else 5.0)


def work_done(rows: list[TaskReport]) -> tuple[int, int, float]:
    """Return how many tasks have a result, how many there are, and the share of all that is done, parts of runs too."""
    num_done = sum(row.has_result for row in rows)
    parts = sum(row.step / row.steps for row in rows if not row.has_result and row.steps)
    return num_done, len(rows), (num_done + parts) / max(1, len(rows))


def _say_changes(rows: list[TaskReport], shown: dict[str, TaskStatus], echo: Say) -> None:
    """A line for each task whose state is another than when it was last shown."""
    num_done = sum(row.has_result for row in rows)
    for row in rows:
        has_changed = row.status != shown.get(row.name, TaskStatus.WAITING)
        if has_changed and row.status not in (TaskStatus.STOPPED, TaskStatus.QUEUED):
            echo(f"{time.strftime('%H:%M:%S')}  [{num_done}/{len(rows)}]  {row.status:<9} {row.name}  {row.label}")
        shown[row.name] = row.status


def _join(jobs: list[Any]) -> None:
    while not all(job.done() for job in jobs):
        time.sleep(0.2)


def count_failed(folder: StudyDir, study: Study) -> int:
    """Number of tasks that have no result."""
    return sum(not row.has_result for row in status(folder, study))


def tell_lost(jobs: list[Any]) -> int:
    """Say on standard error which supervisors did not come to their end; returns how many."""
    reasons = [reason for job in jobs if (reason := failure_of_supervisor(job))]
    for reason in reasons:
        click.echo(reason, err=True)
    return len(reasons)
