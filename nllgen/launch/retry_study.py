"""A second try of the tasks of a study that failed or were stopped, where they ran before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nllgen.errors import ConfigError
from nllgen.launch.configure import with_profile
from nllgen.launch.profile import Profile, load_profile
from nllgen.launch.retry import RetrySelection, choose, kinds_of, memory_factors, newest
from nllgen.launch.select_tasks import tasks_named
from nllgen.launch.slurm.arrays import Submission
from nllgen.launch.slurm.finalize import setup_of
from nllgen.launch.slurm.submission import ArrayShape, SubmitResult
from nllgen.launch.slurm.submission import submit as submit_arrays
from nllgen.launch.start import send
from nllgen.launch.submit import start_local
from nllgen.launch.tasks import is_done, tasks_of
from nllgen.launch.watch import Echo, query_status
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study


@dataclass(frozen=True)
class RetryOptions:
    """The options of a retry.

    Attributes:
        cells: ids or beginnings of ids; empty for all tasks that failed or were stopped.
        kinds: of failure, as typed; empty for all.
        profile: path or name of a cluster's profile; that of the last submission where None.
        local: run on this machine.
    """

    cells: Sequence[str] = ()
    kinds: Sequence[str] = ()
    profile: str | None = None
    local: bool = False


@dataclass(frozen=True)
class RetryPlan:
    """The tasks that are tried again, and where.

    Attributes:
        study_dir: a frozen study.
        study: the frozen study.
        selection: the tasks.
        trouble: the reason why the scheduler gave no answer; empty where it did.
        last: record of the last submission to a cluster; None where there was none.
        options: of the retry.
    """

    study_dir: StudyDir
    study: Study
    selection: RetrySelection
    trouble: str
    last: Submission | None
    options: RetryOptions

    @property
    def is_local(self) -> bool:
        """Return whether the tasks run on this machine."""
        return self.options.local or (self.last is None and self.options.profile is None)


def plan_retry(study_dir: StudyDir, options: RetryOptions) -> RetryPlan:
    """Select the tasks that are tried again.

    Raises:
        NllgenError: a cell or a kind of failure does not exist, or the study is another user's.
    """
    if options.local and options.profile:
        raise ConfigError("--local and --profile exclude each other", "leave out one of them")
    kinds = kinds_of(options.kinds)
    study = study_dir.read_study()
    study_dir.guard()
    named = [task.name for task in tasks_named(study_dir, study, options.cells)]
    rows, trouble = query_status(study_dir, study, patience_s=None)  # the selection depends on the answer
    selection = choose(rows, tasks_of(study, study_dir), named, kinds)
    return RetryPlan(study_dir, study, selection, trouble, newest(study_dir), options)


def retry_locally(plan: RetryPlan, assets: Path) -> int:
    """Start workers for the selected tasks, and for missing tasks that they need; return the number of workers.

    Raises:
        MachineError: the device does not exist.
    """
    tasks = tasks_of(plan.study, plan.study_dir)
    needed = set(plan.selection.names)
    for task in reversed(tasks):  # each task stands after those that it needs
        if task.name in needed:
            needed |= set(task.needs)
    names = [task.name for task in tasks if task.name in needed and not is_done(task, plan.study, plan.study_dir)]
    config = replace(_last_config(plan, assets), device="auto")
    return len(start_local(plan.study_dir, config, min(len(os.sched_getaffinity(0)), len(names)), names))


def retry_on_cluster(plan: RetryPlan, assets: Path, echo: Echo, *, dry_run: bool) -> SubmitResult:
    """Send the selected tasks under a new submission, so that earlier failures do not count.

    Raises:
        NllgenError: the profile or its container has errors, or the scheduler refuses.
    """
    profile, config, shape = _cluster_of(plan, assets)
    factors = memory_factors(plan.selection, plan.study_dir)
    if not dry_run:
        return send(
            plan.study_dir,
            plan.study,
            profile,
            config,
            shape,
            echo=echo,
            only=plan.selection.names,
            memory_factors=factors,
        )
    return submit_arrays(
        plan.study_dir,
        plan.study,
        profile,
        config,
        shape,
        only=plan.selection.names,
        memory_factors=factors,
        dry_run=True,
    )


def _cluster_of(plan: RetryPlan, assets: Path) -> tuple[Profile, WorkerConfig, ArrayShape]:
    """Return the profile, workers and arrays of the last submission, or those of a new profile."""
    config = _last_config(plan, assets)
    shape = ArrayShape(**plan.last.options["shape"]) if plan.last else ArrayShape()
    if plan.last is not None and plan.options.profile is None:
        return Profile.model_validate(plan.last.profile), config, shape
    profile = load_profile(plan.options.profile)
    return profile, with_profile(config, profile), shape


def _last_config(plan: RetryPlan, assets: Path) -> WorkerConfig:
    return setup_of(plan.last.options["setup"]) if plan.last else WorkerConfig(assets)
