"""Cancelling a study or some of its cells: waiting jobs are removed, running tasks save their state and stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nllgen.errors import MachineError
from nllgen.launch.lease import LeaseManager
from nllgen.launch.slurm.arrays import COLLECT
from nllgen.launch.slurm.commands import cancel
from nllgen.launch.slurm.live_jobs import LiveJobs
from nllgen.launch.status import query_scheduler
from nllgen.launch.submission_lock import submission_lock
from nllgen.storage.atomic import make_folder, raise_os_error
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study


@dataclass(frozen=True)
class CancelResult:
    """The outcome of a cancellation."""

    waiting: Mapping[str, int]  # job of the scheduler, or element → number of its waiting elements, which were removed
    killed: Mapping[str, int]  # job of the scheduler, or element → number of its running elements, which were ended
    running: Mapping[str, int]  # job of the scheduler → number of its running elements, which end by themselves
    asked: tuple[str, ...]  # names of running tasks that were asked to save their state and stop
    trouble: str  # why the scheduler could not be asked; empty if it could


def cancel_study(study_dir: StudyDir, study: Study, *, now: bool) -> CancelResult:
    """Stop everything, with ``now`` also running jobs, through the scheduler.

    The stop file is written first: jobs that start meanwhile, or that the scheduler cannot be asked about, end by
    themselves.

    Raises:
        MachineError: the folder belongs to another user or cannot be written, or scancel fails.
    """
    study_dir.guard()
    with submission_lock(study_dir):  # a submission in progress is cancelled as a whole
        _touch(study_dir.stop)
        live, trouble = query_scheduler(study_dir, study, patience_s=None)
        live = live or LiveJobs({}, {}, ())
        cancel(live.ids, states=("PENDING",))
        collection = (live.lines[COLLECT].job,) if COLLECT in live.lines else ()
        cancel(live.ids if now else collection)
        killed = {job: num for job, num in live.num_running.items() if now or job in collection}
    running = {job: num for job, num in live.num_running.items() if job not in killed}
    return CancelResult(live.num_waiting, killed, running, _running(tasks_of(study, study_dir)), trouble)


def cancel_tasks(study_dir: StudyDir, study: Study, tasks: Sequence[Task], *, now: bool) -> CancelResult:
    """Stop some tasks; others of the same job continue.

    With ``now``, running elements that hold no other task are ended through the scheduler.

    Raises:
        MachineError: the folder belongs to another user or cannot be written, or scancel fails.
    """
    study_dir.guard()
    with submission_lock(study_dir):
        for task in tasks:
            make_folder(task.stop.parent)
            _touch(task.stop)
        live, trouble = query_scheduler(study_dir, study, patience_s=None)
        live = live or LiveJobs({}, {}, ())
        elements = {task.name: live.own_elements[task.name] for task in tasks if task.name in live.own_elements}
        waiting = dict.fromkeys((element for name, element in elements.items() if live.lines[name].is_waiting), 1)
        # by number only: with a filter by state, scancel takes all waiting elements of an array for one element
        cancel(tuple(elements.values()) if now else tuple(waiting))
        killed = dict.fromkeys((element for element in elements.values() if now and element not in waiting), 1)
    return CancelResult(waiting, killed, {}, _running(tasks), trouble)


def _touch(path: Path) -> None:
    try:
        path.touch()
    except OSError as error:
        raise_os_error("write", path, error)


def _running(tasks: Sequence[Task]) -> tuple[str, ...]:
    leases = LeaseManager()
    return tuple(task.name for task in tasks if task.lease.exists() and leases.is_held(task.lease))


def raise_trouble(result: CancelResult) -> None:
    """Raise that the scheduler could not be asked, after everything that is possible without it was done.

    Raises:
        MachineError: it could not be asked.
    """
    if result.trouble:
        raise MachineError(
            f"waiting jobs were not taken back: {result.trouble.removeprefix('from files alone: ')}",
            "running tasks were asked to stop, and jobs that start will end at once; "
            "run this again on a login node, for the folder that was submitted",
        )
