"""One task of a study in this process."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from nllgen.errors import ConfigError, MachineError
from nllgen.launch.attempt import Attempt, modified_ns, recorded_attempt, renewing, stopping
from nllgen.launch.freeze import freeze_study
from nllgen.launch.lease import LeaseManager
from nllgen.launch.stop_signal import StopRequest
from nllgen.launch.tasks import with_needs
from nllgen.launch.watch import Echo
from nllgen.storage.states import Expected, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import tasks_of
from nllgen.study.config import Study

Run = Callable[[StudyDir, Attempt, StopRequest], None]


def run_in_foreground(
    study: Study, root: Path, cell_id: str, threads: int, run: Run, echo: Echo, *, trust: bool = False
) -> None:
    """Freeze a study and run a cell, ``truth`` or ``dataset``, after the truth and the data set that it needs.

    Raises:
        ConfigError: the study has no such cell, or another process runs it.
        MachineError: a result cannot be read now, so that nobody knows whether the task has to run.
        StoppedError: Ctrl-C, or the cell or its study was cancelled; the state is saved.
    """
    if cell_id not in {"truth", "dataset", *(cell.id for cell in study.cells)}:
        raise ConfigError(f"study {study.name} has no cell {cell_id!r}", "`nllgen plan` lists the ids of its cells")
    study_dir, frozen, _ = freeze_study(study, root, echo, trust=trust)
    tasks = {task.name: task for task in tasks_of(frozen, study_dir)}
    if cell_id not in tasks:
        raise ConfigError(f"study {study.name} has no {cell_id}", "its grid has no truth section, or needs none")
    order = with_needs([*tasks.values()], [cell_id])
    stop, leases, submission = StopRequest(), LeaseManager(), f"run-{uuid.uuid4().hex[:8]}"
    # a stop file of an earlier cancel does not stop this run; one that is touched later does
    before = {path: modified_ns(path) for path in (study_dir.stop, *(task.stop for task in order))}
    for task in order:
        files = inspect(task, Expected.of(frozen, study_dir))  # the truth may have been made by the last attempt
        if files.state.is_done:
            echo(f"already done: {task.label}")
            continue
        if not files.state.is_to_run:
            raise MachineError(f"{task.label} is not run: its result cannot be read now", files.detail)
        lease = leases.take(task.lease)
        if lease is None:
            raise ConfigError(f"{task.label} is run by another process", f"see: nllgen status {study_dir.path}")
        stops = {path: before[path] for path in (study_dir.stop, task.stop)}
        renewal, stop_watch = renewing(lease), stopping(stops, lease)
        with recorded_attempt(task, lease, submission, threads) as attempt, renewal, stop_watch:
            run(study_dir, attempt, stop)
