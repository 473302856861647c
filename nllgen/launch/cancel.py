"""A study, or some of its cells, is stopped: what waits is taken back, what runs saves its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nllgen.errors import MachineError
from nllgen.launch.lease import LeaseManager
from nllgen.launch.slurm.arrays import COLLECT
from nllgen.launch.slurm.commands import cancel
from nllgen.launch.status import query_scheduler
from nllgen.launch.submit import submission_lock
from nllgen.storage.atomic import make_folder, raise_os_error
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study


@dataclass(frozen=True)
class CancelResult:
    """What was done.

    Attributes:
        jobs: numbers of the scheduler's jobs of which what waited was taken back.
        killed: those of which what ran was ended, too.
        asked: names of tasks that run and were asked to save their state and stop.
        trouble: why the scheduler could not be asked; empty where it could.
    """

    jobs: tuple[str, ...]
    killed: tuple[str, ...]
    asked: tuple[str, ...]
    trouble: str


def cancel_study(folder: StudyDir, study: Study, *, now: bool) -> CancelResult:
    """Stop everything.

    The stop file comes first: what the scheduler starts meanwhile, or cannot be asked about, ends by itself.

    Args:
        folder: of a frozen study.
        study: as it is frozen.
        now: end running jobs through the scheduler as well.

    Raises:
        MachineError: the folder is another user's or cannot be written, or scancel fails.
    """
    folder.guard()
    with submission_lock(folder):  # one that is being sent is cancelled whole
        try:
            folder.stop.touch()
        except OSError as error:
            raise_os_error("write", folder.stop, error)
        live, trouble = query_scheduler(folder, study, patience_s=None)
        ids = live.ids if live else ()
        cancel(ids, states=("PENDING",))
        collecting = (live.jobs[COLLECT],) if live and COLLECT in live.jobs else ()
        killed = ids if now else collecting
        cancel(killed)
    return CancelResult(ids, killed if now else (), _running(tasks_of(study, folder)), trouble)


def cancel_tasks(folder: StudyDir, study: Study, tasks: Sequence[Task], *, now: bool) -> CancelResult:
    """Stop some tasks; others of the same job go on.

    Args:
        folder: of a frozen study.
        study: as it is frozen.
        tasks: that are to stop.
        now: end running elements that hold no other task through the scheduler as well.

    Raises:
        MachineError: the folder is another user's or cannot be written, or scancel fails.
    """
    folder.guard()
    with submission_lock(folder):
        for task in tasks:
            try:
                make_folder(task.stop.parent)
                task.stop.touch()
            except OSError as error:
                raise_os_error("write", task.stop, error)
        live, trouble = query_scheduler(folder, study, patience_s=None)
        alone = tuple(live.alone[task.name] for task in tasks if task.name in live.alone) if live else ()
        # by number alone: with a filter by state, scancel takes the whole waiting rest of an array for one element
        elements = {task.name: live.alone[task.name] for task in tasks if task.name in live.alone} if live else {}
        waits = [element for name, element in elements.items() if live and live.tasks[name] == "PENDING"]
        cancel(alone if now else waits)
    return CancelResult(tuple(waits), alone if now else (), _running(tasks), trouble)


def _running(tasks: Sequence[Task]) -> tuple[str, ...]:
    leases = LeaseManager()
    return tuple(task.name for task in tasks if task.lease.exists() and leases.is_held(task.lease))


def raise_trouble(done: CancelResult) -> None:
    """The scheduler's silence, after all that could be done without it.

    Raises:
        MachineError: it could not be asked.
    """
    if done.trouble:
        raise MachineError(
            f"waiting jobs were not taken back: {done.trouble.removeprefix('from files alone: ')}",
            "what runs on this folder was asked to stop, and what starts will end at once; "
            "say it again on a login node, for the folder that was submitted",
        )
