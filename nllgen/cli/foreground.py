"""One task of a study in this process: `nllgen run`."""

from __future__ import annotations

import uuid
from pathlib import Path

import click

from nllgen.assets import asset_folder
from nllgen.cli.launching import frozen_study, require_torch
from nllgen.errors import ConfigError
from nllgen.launch.attempt import modified_ns, recorded_attempt, renewing, stopping
from nllgen.launch.lease import LeaseManager
from nllgen.launch.stop_signal import StopRequest
from nllgen.launch.tasks import is_done, tasks_of
from nllgen.study.config import Study


def run_in_foreground(study: Study, root: Path, cell_id: str, threads: int, device: str) -> None:
    """Freeze the study and run one task here, with the truth and the data set before it where it needs them.

    Raises:
        ConfigError: the study has no such cell.
        StoppedError: Ctrl-C, or the cell or its study was cancelled meanwhile; the state is saved.
    """
    require_torch()
    from nllgen.worker.setup import enter

    known = {"truth", "dataset", *(cell.id for cell in study.cells)}
    if cell_id not in known:
        raise ConfigError(f"study {study.name} has no cell {cell_id!r}", "`nllgen plan` lists the ids of its cells")
    folder, frozen, _ = frozen_study(study, root, click.echo)
    tasks = {task.name: task for task in tasks_of(frozen, folder)}
    if cell_id not in tasks:
        raise ConfigError(f"study {study.name} has no {cell_id}", "its grid has no truth section, or needs none")
    order = [cell_id]
    while needs := [name for name in tasks[order[0]].needs if name not in order]:
        order = [*needs, *order]
    stop, leases, submission = StopRequest(), LeaseManager(), f"run-{uuid.uuid4().hex[:8]}"
    before = {path: modified_ns(path) for path in (folder.stop, *(tasks[name].stop for name in order))}
    for task in (tasks[name] for name in order):
        if is_done(task, frozen, folder):
            click.echo(f"already done: {task.label}")
            continue
        lease = leases.take(task.lease)
        if lease is None:
            raise ConfigError(f"{task.label} is being run by somebody else", f"see: nllgen status {folder.path}")
        stops = {path: before[path] for path in (folder.stop, task.stop)}
        watched = renewing(lease), stopping(stops, lease)
        with recorded_attempt(task, lease, submission, threads) as attempt, watched[0], watched[1]:
            name, number = attempt.name, attempt.number
            enter(folder, task.name, attempt.threads, device, asset_folder(), stop, attempt=name, attempts=number)
