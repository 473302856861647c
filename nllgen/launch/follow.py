"""Following a study that was started, on this machine or on a cluster, until it ends."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any

from nllgen.errors import StoppedError
from nllgen.launch.eta import ThroughputMeter
from nllgen.launch.status import query_scheduler, status
from nllgen.launch.watch import ChangeReporter, Echo, ProgressLine, work_done
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study

_HIDDEN = ("stopped", "queued")


def follow_cluster(study_dir: StudyDir, study: Study, progress: AbstractContextManager[ProgressLine]) -> int:
    """Print state changes and progress until the scheduler has no job of the study; Ctrl-C does not stop the jobs.

    Returns:
        Number of tasks without a result.
    """
    with progress as line:
        reporter, meter = ChangeReporter(line.echo, _HIDDEN), ThroughputMeter(study)
        while True:
            live, trouble = query_scheduler(study_dir, study, patience_s=None)
            rows = status(study_dir, study, live)
            reporter.report(rows, trouble)
            if not trouble and not (live and live.ids):
                return num_missing(study_dir, study)
            line.update(*work_done(rows), meter.query(rows).seconds_left)
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
