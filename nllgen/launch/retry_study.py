"""A second try of the tasks of a study that failed or were stopped, where they ran before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nllgen.errors import ConfigError
from nllgen.launch.configure import with_profile
from nllgen.launch.local import start_local
from nllgen.launch.profile import Profile, load_profile
from nllgen.launch.retry import RetrySelection, memory_factors, newest_submission, parse_failure_kinds, select
from nllgen.launch.slurm.arrays import ArrayShape, Submission
from nllgen.launch.slurm.submission import SubmissionRequest
from nllgen.launch.start import send
from nllgen.launch.watch import Echo, query_status, tasks_named
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.states import Expected, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import tasks_of
from nllgen.study.config import Study
from nllgen.study.run_options import RunOptions

_MAX_ROWS = 10


@dataclass(frozen=True)
class RetryOptions:
    """The options of a retry.

    Attributes:
        assets: directory of fetched assets.
        cells: ids or beginnings of ids; empty for all tasks that failed or were stopped.
        kinds: of failure, as typed; empty for all.
        profile: path or name of a cluster's profile; that of the last submission where None.
        local: run on this machine.
        dry_run: print the tasks and batch scripts, and submit nothing.
    """

    assets: Path
    cells: Sequence[str] = ()
    kinds: Sequence[str] = ()
    profile: str | None = None
    local: bool = False
    dry_run: bool = False


def retry_study(study_dir: StudyDir, options: RetryOptions, echo: Echo, warn: Echo) -> None:
    """Run failed and stopped tasks again, under a new submission, so that earlier failures do not count.

    Args:
        study_dir: a frozen study.
        options: of the retry.
        echo: prints a line.
        warn: prints a line on standard error.

    Raises:
        NllgenError: a cell, kind of failure or profile does not exist, or the scheduler refuses.
    """
    if options.local and options.profile:
        raise ConfigError("--local and --profile exclude each other", "leave out one of them")
    kinds = parse_failure_kinds(options.kinds)
    study = study_dir.read_study()
    study_dir.guard()
    named = [task.name for task in tasks_named(study_dir, study, options.cells)]
    rows, trouble = query_status(study_dir, study, patience_s=None)  # the selection depends on the answer
    if trouble:
        warn(trouble)
    selection = select(rows, tasks_of(study, study_dir), named, kinds)
    _echo_selection(study_dir, selection, echo, "would try" if options.dry_run else "tries")
    last = newest_submission(study_dir)
    if not selection.rows:
        return
    if not options.local and (last is not None or options.profile is not None):
        _retry_on_cluster(study_dir, study, selection, last, options, echo)
    elif not options.dry_run:
        _retry_here(study_dir, study, selection, _last_config(last, options), echo)


def _echo_selection(study_dir: StudyDir, selection: RetrySelection, echo: Echo, verb: str) -> None:
    for name, reason in selection.refused.items():
        echo(f"{name}: {reason}")
    if not selection.rows:
        echo(f"nothing to try again; see: nllgen status {study_dir.path}")
    for row in selection.rows[:_MAX_ROWS]:
        echo(f"{verb} again: {row.name}  {row.label}  ({row.detail})")
    if (more := len(selection.rows) - _MAX_ROWS) > 0:
        echo(f"… and {more} more")
    if selection.waiting:
        echo(f"and {len(selection.waiting)} that wait for them")


def _retry_here(study_dir: StudyDir, study: Study, selection: RetrySelection, config: WorkerConfig, echo: Echo) -> None:
    """Start workers for the selected tasks, and for missing tasks that they need."""
    tasks = tasks_of(study, study_dir)
    needed = set(selection.names)
    for task in reversed(tasks):  # each task stands after those that it needs
        if task.name in needed:
            needed |= set(task.needs)
    expected = Expected.of(study, study_dir, config.options.required_container)
    names = [task.name for task in tasks if task.name in needed and inspect(task, expected).state.is_to_run]
    num_workers = min(len(os.sched_getaffinity(0)), len(names))
    config = replace(config, options=replace(config.options, device="auto"))
    jobs = start_local(study_dir, config, num_workers, names)
    echo(f"{len(jobs)} workers run in the background; next: nllgen status {study_dir.path}")


def _retry_on_cluster(
    study_dir: StudyDir,
    study: Study,
    selection: RetrySelection,
    last: Submission | None,
    options: RetryOptions,
    echo: Echo,
) -> None:
    """Send the selected tasks as the last submission did, or with another profile."""
    config = _last_config(last, options)
    if last is not None and options.profile is None:
        profile = Profile.model_validate(last.profile)
    else:
        profile = load_profile(options.profile)
        config = with_profile(config, profile)
    request = SubmissionRequest(
        study_dir,
        study,
        profile,
        config,
        last.shape if last else ArrayShape(),
        only=selection.names,
        memory_factors=memory_factors(selection, study_dir),
        dry_run=options.dry_run,
        echo=echo,
    )
    result = send(request)
    if options.dry_run:
        for stage, script in result.scripts.items():
            echo(f"\n--- sbatch: {stage}\n{script}")
    elif result.submission is None:
        echo(f"nothing to send: all are queued, running or done by now; see: nllgen status {study_dir.path}")
    else:
        echo(f"sent as {result.submission.name}; next: nllgen status --watch {study_dir.path}")


def _last_config(last: Submission | None, options: RetryOptions) -> WorkerConfig:
    return last.worker_config if last else WorkerConfig(RunOptions(options.assets))
