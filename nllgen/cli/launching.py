"""Studies are started: on this machine or on a cluster, and followed where that was asked for."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from nllgen.assets import asset_folder
from nllgen.cli.common import left_out_text, load, plan_of, show_plan
from nllgen.cli.following import Say, count_failed, follow_cluster, tell_lost, wait_here
from nllgen.errors import ConfigError, MachineError
from nllgen.launch.freeze import freeze
from nllgen.launch.local import start_local
from nllgen.launch.profile import VARIABLE, Profile, load_profile
from nllgen.launch.slurm.arrays import ArrayShape
from nllgen.launch.slurm.finalize import Finalizer
from nllgen.launch.slurm.submission import SubmissionRequest, SubmitResult
from nllgen.launch.slurm.submission import submit as send_to_cluster
from nllgen.launch.submission_lock import submission_lock
from nllgen.launch.worker_process import WorkerConfig
from nllgen.planning.plan import ContainerRule, Plan
from nllgen.storage.atomic import closed_to_others
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.extend import merge, rules_note


@dataclass(frozen=True)
class Request:
    """What was typed at ``submit``.

    Attributes:
        grid: path or name of a study.
        root: where studies lie.
        profile: path or name of a cluster; None where the run is local, or the environment names it.
        local: run on this machine.
        container: SIF that workers run in; the profile's where None.
        strict_container: a result that another container made does not count.
        pack, workers: shape of the arrays; for a local run ``workers`` is the number of cells at once.
        device: for the workers.
        quiet: nothing but JSON is to be printed.
        dry_run: show what would be done.
    """

    grid: str
    root: Path
    profile: str | None
    local: bool
    container: Path | None
    strict_container: bool
    pack: int
    workers: int
    device: str
    quiet: bool
    dry_run: bool = False

    @property
    def plan_only(self) -> bool:
        """Whether no cluster is named, and none is needed to show the plan."""
        return self.dry_run and not self.profile and not os.environ.get(VARIABLE)


@dataclass(frozen=True)
class Prepared:
    """A request, read and checked; nothing has been changed yet."""

    request: Request
    study: Study
    plan: Plan
    profile: Profile | None
    setup: WorkerConfig

    @property
    def shape(self) -> ArrayShape:
        """Of the arrays."""
        return ArrayShape(self.request.pack, self.request.workers)

    @property
    def echo(self) -> Say:
        """Prints, unless it is to be quiet."""
        return (lambda text: None) if self.request.quiet else click.echo


def prepare(request: Request) -> Prepared:
    """Read the grid, the profile and the container.

    Raises:
        NllgenError: something is wrong with one of them.
    """
    profile = None if request.local or request.plan_only else load_profile(request.profile)
    study = load(request.grid, request.root, profile.precision if profile else None)
    container = request.container or (Path(profile.container) if profile and profile.container else None)
    digest = ""
    if container is not None:
        from nllgen.container import verify_container

        found = verify_container(container)
        container, digest = found.path.absolute(), found.sha256
    elif request.strict_container:
        raise ConfigError("--strict-container compares with a container, and none is named", "add --container SIF")
    rule = ContainerRule(digest, request.strict_container) if container else None
    setup = WorkerConfig(
        asset_folder(),
        request.device,
        container=container,
        container_sha256=digest,
        strict_container=request.strict_container,
    )
    if profile is not None:
        variables = tuple(profile.environment.items())
        more = {"binds": profile.binds, "environment": variables, "scratch": profile.scratch}
        setup = WorkerConfig(**(vars(setup) | more))
    return Prepared(request, study, plan_of(study, request.root, rule), profile, setup)


def dry_run(prepared: Prepared) -> dict[str, Any]:
    """Show the plan, and what sbatch would get; nothing is written or sent."""
    if not prepared.request.quiet:
        show_plan(prepared.plan)
    found: dict[str, Any] = {"plan": prepared.plan.to_json()}
    if prepared.profile is None:
        return found
    folder = StudyDir(prepared.request.root / prepared.study.name)
    frozen = _as_frozen(prepared, folder)
    sent = send(SubmissionRequest(folder, frozen, prepared.profile, prepared.setup, prepared.shape, dry_run=True))
    for stage, script in sent.scripts.items():
        prepared.echo(f"\n--- sbatch: {stage}\n{script}")
    prepared.echo(_budget(prepared, sent))
    return found | {"sbatch": dict(sent.scripts), "num_queued": sent.num_queued}


def _as_frozen(prepared: Prepared, folder: StudyDir) -> Study:
    return merge(folder.read_study(), prepared.study) if folder.is_frozen else prepared.study


def _budget(prepared: Prepared, sent: SubmitResult) -> str:
    """What the study may cost at most, beside what the plan expects."""
    assert prepared.profile is not None
    if sent.submission is None:
        return f"nothing to send: all is done or queued ({sent.num_queued} queued)"
    one = prepared.profile.resources(prepared.study.resources)
    elements = sum(stage.num_elements for stage in sent.submission.stages)
    hours = elements * one.time_min / 60
    gpus = f", {hours * one.gpus:,.0f} GPU-hours" if one.gpus else ""
    return (
        f"about {prepared.plan.core_hours:,.1f} core-hours of work; {elements} elements of at most {one.time_min} min "
        f"reserve {hours * one.cpus * prepared.shape.pack:,.0f} core-hours{gpus} at most"
    )


def submit(prepared: Prepared, *, wait: bool) -> tuple[StudyDir, int]:
    """Freeze and start what is missing.

    Returns:
        The study folder and the number of runs and supervisors that failed (0 without ``wait``).

    Raises:
        MachineError: there is no such device, or the scheduler refuses.
        StoppedError: Ctrl-C.
    """
    if prepared.profile is None:
        return submit_local(prepared, wait=wait)
    echo = prepared.echo
    folder, study, num_new = frozen_study(prepared.study, prepared.request.root, echo)
    echo(f"{folder.path}: {len(study.cells)} cells, {num_new} new; {prepared.plan.num_skip} done before")
    sent = send(SubmissionRequest(folder, study, prepared.profile, prepared.setup, prepared.shape, echo=echo))
    if sent.submission is None:
        echo(f"nothing to send: {_what_is_left(sent.num_queued)}; next: nllgen status {folder.path}")
    else:
        echo(f"sent; you may log out. next: nllgen status --watch {folder.path}")
    if not wait:
        return folder, 0
    follow_cluster(folder, study, echo)
    failed = count_failed(folder, study)
    echo(f"{failed} failed; see: nllgen status {folder.path}" if failed else f"next: nllgen collect {folder.path}")
    return folder, failed


def frozen_study(study: Study, root: Path, echo: Say) -> tuple[StudyDir, Study, int]:
    """Freeze, and say where the rules that it will be judged by are older ones."""
    folder, frozen, num_new = freeze(study, root)
    if note := rules_note(frozen, study):
        echo(note)
    for source in frozen.left_out:
        echo(left_out_text(source))
    return folder, frozen, num_new


def _what_is_left(num_queued: int) -> str:
    return f"{num_queued} tasks are queued or running already" if num_queued else "all is done"


def send(request: SubmissionRequest) -> SubmitResult:
    """Send the missing tasks of a frozen study to a cluster; under the submission lock unless it is a dry run.

    Raises:
        MachineError: the scheduler is not there or refuses.
    """
    if request.dry_run:
        return send_to_cluster(request, Finalizer)
    with submission_lock(request.study_dir), closed_to_others():
        return send_to_cluster(request, Finalizer)


def submit_local(prepared: Prepared, *, wait: bool) -> tuple[StudyDir, int]:
    """Freeze, start here, and with ``wait`` stay until all has run.

    Returns:
        The study folder and the number of runs and supervisors that failed (0 without ``wait``).

    Raises:
        MachineError: there is no such device here; nothing was frozen.
        StoppedError: Ctrl-C; the workers have saved their state.
    """
    from nllgen.launch.gpus import assign_gpus

    request, setup, echo, made = prepared.request, prepared.setup, prepared.echo, prepared.plan
    if setup.container is None:
        require_torch()
    assign_gpus(request.device)
    folder, frozen, num_new = frozen_study(prepared.study, request.root, echo)
    echo(f"{folder.path}: {len(frozen.cells)} cells, {num_new} new; {made.num_run} to run, {made.num_skip} done before")
    if made.num_run == 0:
        echo(f"nothing to run; next: nllgen collect {folder.path}")
        return folder, 0
    worker_slots = min(request.workers or len(os.sched_getaffinity(0)), made.num_run)
    jobs = start_local(folder, setup, worker_slots)
    if not wait:
        echo(f"{worker_slots} workers run in the background; next: nllgen status {folder.path}")
        return folder, 0
    wait_here(folder, frozen, jobs, echo)
    failed = count_failed(folder, frozen)
    echo(f"{failed} failed; see: nllgen status {folder.path}" if failed else f"next: nllgen collect {folder.path}")
    return folder, failed + tell_lost(jobs)


def require_torch() -> None:
    """Before anything is frozen, since workers run with this Python.

    Raises:
        MachineError: torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MachineError("torch is not installed, and training needs it", "pip install 'nllgen[train]'")
