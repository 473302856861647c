"""The start of a study, on this machine or on a cluster."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nllgen.errors import ConfigError
from nllgen.launch.follow import follow_cluster, follow_local
from nllgen.launch.freeze import freeze_study
from nllgen.launch.gpus import assign_gpus, num_local_workers, require_torch
from nllgen.launch.local import failure_of_supervisor, start_local
from nllgen.launch.notification import notify_here, notify_when_over
from nllgen.launch.profile import VARIABLE, Profile, load_profile
from nllgen.launch.slurm.arrays import ArrayShape
from nllgen.launch.slurm.finalize import Finalizer
from nllgen.launch.slurm.shell_options import with_shell_options
from nllgen.launch.slurm.submission import SubmissionRequest, SubmitResult
from nllgen.launch.slurm.submission import submit as submit_arrays
from nllgen.launch.submission_lock import submission_lock
from nllgen.launch.watch import Echo, ProgressLine
from nllgen.launch.worker_process import WorkerConfig
from nllgen.planning.calibration import KnownCalibration, known_calibration
from nllgen.planning.plan import Plan
from nllgen.planning.reasons import ContainerRule
from nllgen.planning.study_plan import load_study_at, merge_frozen, plan_study_at
from nllgen.storage.atomic import closed_to_others
from nllgen.storage.states import weightless_note
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.hardware import num_cores
from nllgen.study.run_options import RunOptions


@dataclass(frozen=True)
class StartOptions:
    """The options of a submission."""

    grid: str
    root: Path  # directory of all studies
    assets: Path  # directory of fetched assets
    profile: str | None = None  # path or name of a cluster's profile; $NLLGEN_PROFILE where None
    local: bool = False  # run on this machine
    container: Path | None = None  # SIF that workers run in; the profile's where None
    strict_container: bool = False  # do not count results that another container made
    pack: int = 1  # cells that run at once in one array element, or on each GPU of this machine
    # array elements that lease one cell after another, 0 for the profile's number, else an element per cell; on this
    # machine the number of cells that run at once, 0 for ``pack`` on each GPU or one per core
    workers: int = 0
    device: str = "auto"
    dry_run: bool = False  # submit nothing; without a profile show the plan alone
    overrides: tuple[str, ...] = ()  # KEY=VALUE each, values that replace those of the grid
    trust: bool = False  # accept what a directory would run that this user did not submit here
    notify: str = ""  # command that the user is told by at the end

    def load_profile(self) -> tuple[Profile | None, tuple[str, ...]]:
        """Load the profile, completed by options that the shell exports, and a line for each of these.

        There is none for a local run, and for a dry run that names none.

        Raises:
            ConfigError: no profile is named, or it has errors, or one is named for a local run.
        """
        check_place(self.local, self.profile)
        if self.local and self.pack > 1:
            self._check_local_pack()
        is_unnamed = not self.profile and not os.environ.get(VARIABLE)
        if self.local or (self.dry_run and is_unnamed):
            return None, ()
        return with_shell_options(load_profile(self.profile), os.environ)

    def _check_local_pack(self) -> None:
        if self.workers:
            raise ConfigError(
                "--pack and --workers both set the number of cells at once on this machine", "give one of them"
            )
        if not assign_gpus(self.device)[0]:
            raise ConfigError(
                "--pack puts several cells on a GPU, and this run uses none",
                "a local run on processors has --workers cells at once",
            )


def check_place(local: bool, profile: str | None) -> None:
    """Check that a submission goes to one place.

    Raises:
        ConfigError: a profile is named for a local run.
    """
    if local and profile:
        raise ConfigError("--local and --profile exclude each other", "leave out one of them")


@dataclass(frozen=True)
class PreparedStudy:
    """A study that is read, checked and planned; nothing has been changed yet."""

    options: StartOptions
    study: Study
    plan: Plan
    profile: Profile | None
    config: WorkerConfig
    notes: tuple[str, ...] = ()  # options of sbatch that the user's shell exports, and whether they are used

    @property
    def shape(self) -> ArrayShape:
        """Return the shape of the arrays."""
        of_profile = self.profile.workers if self.profile else None
        return ArrayShape(self.options.pack, self.options.workers or of_profile or 0)


def prepare(
    options: StartOptions, is_available: Callable[[str], bool], echo: Echo = lambda text: None
) -> PreparedStudy:
    """Read the study, the profile and the container, and plan the study.

    ``is_available`` tells whether a source of optional data is on this machine. ``echo`` receives a line about what
    each value that was set reaches.

    Raises:
        NllgenError: one of them has errors.
    """
    profile, notes = options.load_profile()
    precision = profile.precision if profile else None
    study = load_study_at(options.grid, options.root, is_available, precision, options.overrides, echo)
    config = _worker_config(options, profile)
    rule = ContainerRule(config.options.container_sha256, options.strict_container) if config.container else None
    # the nodes of a cluster are other machines than this one
    known = KnownCalibration(reason="the nodes are not known") if profile else known_calibration()
    gpus = profile.resources(study.resources).gpus if profile else None
    plan = plan_study_at(study, options.root, num_cores(), rule, known, gpus)
    return PreparedStudy(options, study, plan, profile, config, notes)


def _worker_config(options: StartOptions, profile: Profile | None) -> WorkerConfig:
    config = WorkerConfig(RunOptions(options.assets, options.device, strict_container=options.strict_container))
    if profile is not None:  # its container is not verified if another one is named
        own = {"container": None} if options.container else {}
        config = config.with_profile(profile.model_copy(update=own))
    if options.container is not None:
        config = config.with_container(options.container)
    if options.strict_container and config.container is None:
        raise ConfigError("--strict-container compares with a container, and none is named", "add --container SIF")
    return config


def preview(prepared: PreparedStudy, echo: Echo) -> dict[str, Any]:
    """Print what would be submitted to a cluster, and return it as JSON has it; nothing without a profile.

    Raises:
        MachineError: the scheduler does not answer.
    """
    if prepared.profile is None:
        return {}
    study_dir = StudyDir(prepared.options.root / prepared.study.name)
    study = merge_frozen(prepared.study, study_dir)
    request = SubmissionRequest(study_dir, study, prepared.profile, prepared.config, prepared.shape, dry_run=True)
    result = send(request)
    for stage, script in result.scripts.items():
        echo(f"\n--- sbatch: {stage}\n{script}")
    echo(_budget(prepared, result))
    _echo_notes(prepared, echo)
    return {"sbatch": dict(result.scripts), "num_queued": result.num_queued, "shell_options": list(prepared.notes)}


def _echo_notes(prepared: PreparedStudy, echo: Echo) -> None:
    for note in prepared.notes:
        echo(f"from your shell: {note}")


def _budget(prepared: PreparedStudy, result: SubmitResult) -> str:
    assert prepared.profile is not None
    if result.submission is None:
        if result.unknown:
            return result.unknown_line
        return f"nothing to send: all is done or queued ({result.num_queued} queued)"
    resources = prepared.profile.resources(prepared.study.resources)
    elements = sum(stage.num_elements for stage in result.submission.stages)
    hours = elements * resources.time_min / 60
    gpu_hours = hours * prepared.profile.gpus_of_job(resources.gpus, prepared.shape.pack)
    gpus = f", {gpu_hours:,.0f} GPU-hours" if gpu_hours else ""
    return (
        f"about {prepared.plan.core_hours:,.1f} core-hours of work; {elements} elements of at most "
        f"{resources.time_min} min reserve {hours * resources.cpus * prepared.shape.pack:,.0f} core-hours{gpus} at most"
    )


def start(
    prepared: PreparedStudy, *, echo: Echo, warn: Echo, progress: AbstractContextManager[ProgressLine] | None
) -> tuple[StudyDir, int]:
    """Freeze a study and start its missing tasks; with a line of progress, wait until all of them have run.

    Returns:
        The study's directory, and the number of tasks without a result and supervisors that failed, 0 without waiting.

    Raises:
        MachineError: the device does not exist, or the scheduler refuses.
        StoppedError: Ctrl-C while waiting for local workers, which have saved their state.
    """
    if prepared.profile is None:
        return _start_local(prepared, echo, warn, progress)
    return _start_on_cluster(prepared, prepared.profile, echo, progress)


def _freeze(prepared: PreparedStudy, echo: Echo) -> tuple[StudyDir, Study, int]:
    return freeze_study(prepared.study, prepared.options.root, echo, trust=prepared.options.trust)


def _start_on_cluster(
    prepared: PreparedStudy, profile: Profile, echo: Echo, progress: AbstractContextManager[ProgressLine] | None
) -> tuple[StudyDir, int]:
    study_dir, study, num_new = _freeze(prepared, echo)
    echo(f"{study_dir.path}: {len(study.cells)} cells, {num_new} new; {prepared.plan.num_skip} done before")
    _echo_notes(prepared, echo)
    _echo_weightless(prepared.plan, study_dir, echo)
    notify = prepared.options.notify
    result = send(
        SubmissionRequest(study_dir, study, profile, prepared.config, prepared.shape, echo=echo, notify=notify)
    )
    if result.unknown:
        echo(result.unknown_line)
    if result.submission is None and result.unknown:
        echo(f"nothing sent; next: nllgen status {study_dir.path}")
    elif result.submission is None:
        left = f"{result.num_queued} tasks are queued or running already" if result.num_queued else "all is done"
        echo(f"nothing to send: {left}; next: nllgen status {study_dir.path}")
    else:
        echo(f"submitted; you can log out. next: nllgen status --watch {study_dir.path}")
    if progress is None:
        return study_dir, 0
    num_failed = follow_cluster(study_dir, study, progress)
    _echo_next_step(study_dir, num_failed, echo)
    return study_dir, num_failed


def _start_local(
    prepared: PreparedStudy, echo: Echo, warn: Echo, progress: AbstractContextManager[ProgressLine] | None
) -> tuple[StudyDir, int]:
    if prepared.config.container is None:
        require_torch()
    options, plan = prepared.options, prepared.plan
    gpus, _ = assign_gpus(options.device)  # before anything is frozen
    study_dir, study, num_new = _freeze(prepared, echo)
    echo(
        f"{study_dir.path}: {len(study.cells)} cells, {num_new} new; {plan.num_run} to run, {plan.num_skip} done before"
    )
    _echo_weightless(plan, study_dir, echo)
    if plan.num_run == 0:
        echo(f"nothing to run; next: nllgen collect {study_dir.path}")
        return study_dir, 0
    num_workers = min(num_local_workers(len(gpus), workers=options.workers, pack=options.pack), plan.num_run)
    jobs = start_local(study_dir, prepared.config, num_workers)
    command = prepared.options.notify
    if progress is None:
        if command:
            notify_when_over(study_dir, command, jobs)
        echo(f"{num_workers} workers run in the background; next: nllgen status {study_dir.path}")
        return study_dir, 0
    num_failed = follow_local(study_dir, study, jobs, progress, echo)
    _echo_next_step(study_dir, num_failed, echo)
    reasons = [*filter(None, map(failure_of_supervisor, jobs))]
    for reason in reasons:
        warn(reason)
    if command:
        notify_here(study_dir, command)
    return study_dir, num_failed + len(reasons)


def _echo_weightless(plan: Plan, study_dir: StudyDir, echo: Echo) -> None:
    if note := weightless_note(plan.weightless, study_dir.path):
        echo(note)


def _echo_next_step(study_dir: StudyDir, num_failed: int, echo: Echo) -> None:
    failed = f"{num_failed} failed; see: nllgen status {study_dir.path}"
    echo(failed if num_failed else f"next: nllgen collect {study_dir.path}")


def send(request: SubmissionRequest) -> SubmitResult:
    """Send missing tasks of a frozen study to a cluster, under the study's submission lock unless it is a dry run.

    Raises:
        MachineError: the scheduler does not answer or refuses.
    """
    lock = contextlib.nullcontext() if request.dry_run else submission_lock(request.study_dir)
    with lock, closed_to_others():
        return submit_arrays(request, Finalizer)
