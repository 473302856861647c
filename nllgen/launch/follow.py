"""Following a study that was started, on this machine or on a cluster, until it ends."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any, Protocol

from nllgen.errors import StoppedError
from nllgen.launch.eta import ThroughputMeter
from nllgen.launch.status import query_scheduler, status
from nllgen.launch.watch import ChangeReporter, Echo, work_done
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study

_HIDDEN = ("stopped", "queued")


class ProgressLine(Protocol):
    """A line of overall progress below the lines that stay."""

    def echo(self, text: str) -> None:
        """Print a line that stays."""

    def update(self, num_done: int, num_tasks: int, share: float, seconds_left: float | None) -> None:
        """Update the progress.

        Args:
            num_done: tasks with a result.
            num_tasks: all tasks.
            share: of all work that is done, in [0, 1].
            seconds_left: estimated; None where there is no estimate.
        """


def follow_cluster(study_dir: StudyDir, study: Study, echo: Echo) -> int:
    """Print state changes until the scheduler has no job of the study; Ctrl-C does not stop the jobs.

    Returns:
        Number of tasks without a result.
    """
    reporter = ChangeReporter(echo, _HIDDEN)
    while True:
        live, trouble = query_scheduler(study_dir, study, patience_s=None)
        rows = status(study_dir, study, live)
        reporter.report(rows, trouble)
        if not trouble and not (live and live.ids):
            return num_missing(study_dir, study)
        time.sleep(5.0)


def follow_local(
    study_dir: StudyDir, study: Study, jobs: list[Any], progress: AbstractContextManager[ProgressLine], echo: Echo
) -> int:
    """Print state changes and progress until all local jobs have ended.

    Returns:
        Number of tasks without a result.

    Raises:
        StoppedError: Ctrl-C; the workers have saved their checkpoints.
    """
    try:
        with progress as line:
            _update_until_done(study_dir, study, jobs, line)
    except KeyboardInterrupt:
        echo("\nstopping: the workers save their state (Ctrl-C once more: do not wait for them)")
        study_dir.stop.touch()
        while not all(job.done() for job in jobs):
            time.sleep(0.2)
        hint = "run the same command again to resume"
        raise StoppedError(f"{study_dir.path}: stopped, nothing is lost", hint) from None
    return num_missing(study_dir, study)


def _update_until_done(study_dir: StudyDir, study: Study, jobs: list[Any], progress: ProgressLine) -> None:
    reporter, meter = ChangeReporter(progress.echo, _HIDDEN), ThroughputMeter(study)
    while True:
        has_ended = all(job.done() for job in jobs)
        rows = status(study_dir, study)
        reporter.report(rows)
        if has_ended:
            return
        progress.update(*work_done(rows), meter.query(rows).seconds_left)
        time.sleep(1.0 if len(rows) < 100 else 5.0)


def num_missing(study_dir: StudyDir, study: Study) -> int:
    """Return the number of tasks without a result."""
    num_done, num_tasks, _ = work_done(status(study_dir, study))
    return num_tasks - num_done
