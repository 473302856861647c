"""What runs is stopped, and what failed is tried again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from nllgen.assets import asset_folder
from nllgen.cli.launching import send
from nllgen.cli.watching import query, tasks_named
from nllgen.errors import ConfigError
from nllgen.launch.cancel import cancel_study, cancel_tasks, raise_trouble
from nllgen.launch.local import start_local
from nllgen.launch.profile import Profile, load_profile
from nllgen.launch.retry import RetrySelection, memory_factors, newest_submission, parse_failure_kinds, select
from nllgen.launch.slurm.arrays import ArrayShape, Submission
from nllgen.launch.slurm.submission import SubmissionRequest
from nllgen.launch.tasks import is_done, tasks_of
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study

_MAX_NAMED = 10


def cancel(folder: StudyDir, names: Sequence[str], *, now: bool) -> None:
    """Stop a study, or some of its cells, and say what was done.

    Raises:
        ConfigError: there is no such cell.
        MachineError: the scheduler could not be asked; what could be done without it was done.
    """
    study = folder.read_study()
    if names:
        done = cancel_tasks(folder, study, tasks_named(folder, study, names), now=now)
    else:
        done = cancel_study(folder, study, now=now)
    if done.jobs:
        click.echo(f"waiting jobs taken back: {_some(done.jobs)}")
    if done.killed:
        click.echo(f"running jobs ended by the scheduler: {_some(done.killed)}")
    if done.asked:
        click.echo(f"{len(done.asked)} running, asked to save their state and stop: {_some(done.asked)}")
    if not (done.jobs or done.asked or done.trouble):
        click.echo("nothing waits or runs; what starts by itself later will stop")
    raise_trouble(done)
    again = f"nllgen retry {folder.path} {' '.join(names)}" if names else "the same nllgen submit"
    click.echo(f"see: nllgen status {folder.path}; to go on where it stopped: {again.rstrip()}")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class Request:
    """What was typed at ``retry``.

    Attributes:
        cells: ids or beginnings of them; empty for all that failed or stopped.
        kinds: of failure, as typed.
        profile: path or name of a cluster; that of the last submission where None.
        local: run on this machine.
        dry_run: say what would be sent, and stop.
    """

    cells: tuple[str, ...]
    kinds: tuple[str, ...]
    profile: str | None
    local: bool
    dry_run: bool


def retry(folder: StudyDir, request: Request) -> None:
    """Send failed tasks again, under a submission of its own: what they failed before does not count against them.

    Raises:
        NllgenError: there is no such cell or kind, or nothing to go by, or the scheduler refuses.
    """
    if request.local and request.profile:
        raise ConfigError("--local and --profile exclude each other", "leave out one of them")
    kinds = parse_failure_kinds(request.kinds)
    study = folder.read_study()
    folder.guard()
    tasks = tasks_of(study, folder)
    named = [task.name for task in tasks_named(folder, study, request.cells)]
    rows, trouble = query(folder, study, patience_s=None)  # what is decided by it is worth waiting for
    if trouble:
        click.echo(trouble, err=True)
    again = select(rows, tasks, named, kinds)
    for name, why in again.refused.items():
        click.echo(f"{name}: {why}")
    if not again.rows:
        click.echo(f"nothing to try again; see: nllgen status {folder.path}")
        return
    for row in again.rows[:_MAX_NAMED]:
        click.echo(f"{'would try' if request.dry_run else 'tries'} again: {row.name}  {row.label}  ({row.detail})")
    if (more := len(again.rows) - _MAX_NAMED) > 0:
        click.echo(f"… and {more} more")
    if again.waiting:
        click.echo(f"and {len(again.waiting)} that wait for them")
    last = newest_submission(folder)
    if request.local or (last is None and request.profile is None):
        _retry_here(folder, study, again, last, dry_run=request.dry_run)
    else:
        _retry_there(folder, study, again, last, request)


def _retry_here(
    folder: StudyDir, study: Study, again: RetrySelection, last: Submission | None, *, dry_run: bool
) -> None:
    if dry_run:
        return
    needed = set(again.names)
    for task in reversed(tasks_of(study, folder)):
        if task.name in needed:
            needed |= set(task.needs)
    names = [task.name for task in tasks_of(study, folder) if task.name in needed and not is_done(task, study, folder)]
    setup = replace(_setup(last), device="auto")
    jobs = start_local(folder, setup, min(_cores(), len(names)), names)
    click.echo(f"{len(jobs)} workers run in the background; next: nllgen status {folder.path}")


def _retry_there(
    folder: StudyDir, study: Study, again: RetrySelection, last: Submission | None, request: Request
) -> None:
    if request.profile is not None or last is None:
        profile = load_profile(request.profile)
        setup = _with_profile(_setup(last), profile)
    else:
        profile, setup = Profile.model_validate(last.profile), _setup(last)
    shape = last.shape if last else ArrayShape()
    submission = SubmissionRequest(
        folder,
        study,
        profile,
        setup,
        shape,
        only=again.names,
        memory_factors=memory_factors(again, folder),
        dry_run=request.dry_run,
        echo=click.echo,
    )
    sent = send(submission)
    if request.dry_run:
        for stage, script in sent.scripts.items():
            click.echo(f"\n--- sbatch: {stage}\n{script}")
        return
    if sent.submission is None:
        click.echo(f"nothing to send: all of them are queued, running or done by now; see: nllgen status {folder.path}")
        return
    click.echo(f"sent as {sent.submission.name}; next: nllgen status --watch {folder.path}")


def _setup(last: Submission | None) -> WorkerConfig:
    return last.worker_config if last else WorkerConfig(asset_folder())


def _with_profile(setup: WorkerConfig, profile: Profile) -> WorkerConfig:
    """As the last time, on another cluster: its folders, its variables, its container where it names one."""
    variables = tuple(profile.environment.items())
    setup = replace(setup, binds=profile.binds, environment=variables, scratch=profile.scratch)
    if profile.container:
        from nllgen.container import verify_container

        container = verify_container(Path(profile.container))
        setup = replace(setup, container=container.path.absolute(), container_sha256=container.sha256)
    return setup


def _cores() -> int:
    return len(os.sched_getaffinity(0))
