"""Studies are started: on this machine or on a cluster, and followed where that was asked for."""

from __future__ import annotations

import importlib.util
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nllgen.assets import asset_folder
from nllgen.doors import load, plan_of, show_plan
from nllgen.errors import ConfigError, MachineError, StoppedError
from nllgen.launch.cluster import Sent, Shape
from nllgen.launch.cluster import submit as send_to_cluster
from nllgen.launch.profile import VARIABLE, Profile, load_profile
from nllgen.launch.submit import freeze, only_submission, start_local
from nllgen.launch.workers import WorkerSetup
from nllgen.store.atomic import closed_to_others
from nllgen.store.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.merge import merge, rules_note
from nllgen.study.plan import ImageRule, Plan

if TYPE_CHECKING:
    from nllgen.launch.status import TaskStatus

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What was typed at ``submit``.

    Attributes:
        grid: path or name of a study.
        root: where studies lie.
        profile: path or name of a cluster; None where the run is local, or the environment names it.
        local: run on this machine.
        image: SIF that workers run in; the profile's where None.
        strict_image: a result that another image made does not count.
        pack, workers: shape of the arrays; for a local run ``workers`` is the number of cells at once.
        device: for the workers.
        quiet: nothing but JSON is to be printed.
        dry_run: show what would be done.
    """

    grid: str
    root: Path
    profile: str | None
    local: bool
    image: Path | None
    strict_image: bool
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
    setup: WorkerSetup

    @property
    def shape(self) -> Shape:
        """Of the arrays."""
        return Shape(self.request.pack, self.request.workers)

    @property
    def say(self) -> Say:
        """Prints, unless it is to be quiet."""
        return (lambda text: None) if self.request.quiet else click.echo


def prepare(request: Request) -> Prepared:
    """Read the grid, the profile and the image.

    Raises:
        NllgenError: something is wrong with one of them.
    """
    profile = None if request.local or request.plan_only else load_profile(request.profile)
    study = load(request.grid, request.root, profile.precision if profile else None)
    image = request.image or (Path(profile.image) if profile and profile.image else None)
    digest = ""
    if image is not None:
        from nllgen.image import open_image

        found = open_image(image)
        image, digest = found.path.absolute(), found.sha256
    elif request.strict_image:
        raise ConfigError("--strict-image compares with an image, and none is named", "add --image SIF")
    rule = ImageRule(digest, request.strict_image) if image else None
    setup = WorkerSetup(
        asset_folder(), request.device, image=image, image_sha256=digest, strict_image=request.strict_image
    )
    if profile is not None:
        variables = tuple(profile.environment.items())
        more = {"binds": profile.binds, "environment": variables, "scratch": profile.scratch}
        setup = WorkerSetup(**(vars(setup) | more))
    return Prepared(request, study, plan_of(study, request.root, rule), profile, setup)


def dry_run(prepared: Prepared) -> dict[str, Any]:
    """Show the plan, and what sbatch would get; nothing is written or sent."""
    if not prepared.request.quiet:
        show_plan(prepared.plan)
    found: dict[str, Any] = {"plan": prepared.plan.to_json()}
    if prepared.profile is None:
        return found
    folder = StudyDir(prepared.request.root / prepared.study.name)
    sent = send_to_cluster(
        folder, _as_frozen(prepared, folder), prepared.profile, prepared.setup, prepared.shape, dry_run=True
    )
    for stage, script in sent.scripts.items():
        prepared.say(f"\n--- sbatch: {stage}\n{script}")
    prepared.say(_budget(prepared, sent))
    return found | {"sbatch": dict(sent.scripts), "num_queued": sent.num_queued}


def _as_frozen(prepared: Prepared, folder: StudyDir) -> Study:
    return merge(folder.read_study(), prepared.study) if folder.is_frozen else prepared.study


def _budget(prepared: Prepared, sent: Sent) -> str:
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
    say = prepared.say
    folder, study, num_new = _frozen(prepared.study, prepared.request.root, say)
    say(f"{folder.path}: {len(study.cells)} cells, {num_new} new; {prepared.plan.num_skip} done before")
    sent = send(folder, study, prepared.profile, prepared.setup, prepared.shape, say=say)
    if sent.submission is None:
        say(f"nothing to send: {_what_is_left(sent.num_queued)}; next: nllgen status {folder.path}")
    else:
        say(f"sent; you may log out. next: nllgen status --watch {folder.path}")
    if not wait:
        return folder, 0
    follow_cluster(folder, study, say)
    failed = count_failed(folder, study)
    say(f"{failed} failed; see: nllgen status {folder.path}" if failed else f"next: nllgen collect {folder.path}")
    return folder, failed


def _frozen(study: Study, root: Path, say: Say) -> tuple[StudyDir, Study, int]:
    """Freeze, and say where the rules that it will be judged by are older ones."""
    folder, frozen, num_new = freeze(study, root)
    if note := rules_note(frozen, study):
        say(note)
    return folder, frozen, num_new


def _what_is_left(num_queued: int) -> str:
    return f"{num_queued} tasks are queued or running already" if num_queued else "all is done"


def send(
    folder: StudyDir, study: Study, profile: Profile, setup: WorkerSetup, shape: Shape, *, say: Say, **how: Any
) -> Sent:
    """Send what is missing of a frozen study to a cluster, while nobody else does.

    Raises:
        MachineError: the scheduler is not there or refuses.
    """
    with only_submission(folder), closed_to_others():
        return send_to_cluster(folder, study, profile, setup, shape, say=say, **how)


def follow_cluster(folder: StudyDir, study: Study, say: Say) -> None:
    """Say what changes until the scheduler has nothing left of the study; Ctrl-C leaves the jobs alone."""
    from nllgen.launch.cluster import live_tasks
    from nllgen.launch.status import status

    shown: dict[str, str] = {}
    while True:
        live = live_tasks(folder, study.name)
        _say_changes(status(folder, study, live), shown, say)
        if not live.ids:
            return
        time.sleep(5.0)


def submit_local(prepared: Prepared, *, wait: bool) -> tuple[StudyDir, int]:
    """Freeze, start here, and with ``wait`` stay until all has run.

    Returns:
        The study folder and the number of runs and supervisors that failed (0 without ``wait``).

    Raises:
        MachineError: there is no such device here; nothing was frozen.
        StoppedError: Ctrl-C; the workers have saved their state.
    """
    from nllgen.launch.gpus import share_out

    request, setup, say, made = prepared.request, prepared.setup, prepared.say, prepared.plan
    if setup.image is None:
        _require_torch()
    share_out(request.device)
    folder, frozen, num_new = _frozen(prepared.study, request.root, say)
    say(f"{folder.path}: {len(frozen.cells)} cells, {num_new} new; {made.num_run} to run, {made.num_skip} done before")
    if made.num_run == 0:
        say(f"nothing to run; next: nllgen collect {folder.path}")
        return folder, 0
    slots = min(request.workers or len(os.sched_getaffinity(0)), made.num_run)
    jobs = start_local(folder, setup, slots)
    if not wait:
        say(f"{slots} workers run in the background; next: nllgen status {folder.path}")
        return folder, 0
    _wait(folder, frozen, jobs, say)
    failed = count_failed(folder, frozen)
    say(f"{failed} failed; see: nllgen status {folder.path}" if failed else f"next: nllgen collect {folder.path}")
    return folder, failed + _tell_lost(jobs)


def _require_torch() -> None:
    """Raises before anything is frozen: workers run with this Python."""
    if importlib.util.find_spec("torch") is None:
        raise MachineError("torch is not installed, and training needs it", "pip install 'nllgen[train]'")


def _wait(folder: StudyDir, study: Study, jobs: list[Any], say: Say) -> None:
    """Follow the run; Ctrl-C asks the workers to stop and waits for their checkpoints."""
    try:
        _follow(folder, study, jobs, say)
    except KeyboardInterrupt:
        say("\nstopping: the workers save their state (Ctrl-C once more to leave them to it)")
        folder.stop.touch()
        _join(jobs)
        again = "run the same command again: it goes on where it stopped"
        raise StoppedError(f"{folder.path}: stopped, nothing is lost", again) from None


def _follow(folder: StudyDir, study: Study, jobs: list[Any], say: Say) -> None:
    from nllgen.launch.status import status

    shown: dict[str, str] = {}
    while True:
        ended = all(job.done() for job in jobs)
        rows = status(folder, study)
        _say_changes(rows, shown, say)
        if ended:
            return
        time.sleep(1.0 if len(rows) < 100 else 5.0)


def _say_changes(rows: list[TaskStatus], shown: dict[str, str], say: Say) -> None:
    """A line for each task whose state is another than when it was last shown."""
    num_done = sum(row.state in ("done", "diverged") for row in rows)
    for row in rows:
        if row.state != shown.get(row.name, "waiting") and row.state not in ("stopped", "queued"):
            say(f"{time.strftime('%H:%M:%S')}  [{num_done}/{len(rows)}]  {row.state:<9} {row.name}  {row.label}")
        shown[row.name] = row.state


def _join(jobs: list[Any]) -> None:
    while not all(job.done() for job in jobs):
        time.sleep(0.2)


def count_failed(folder: StudyDir, study: Study) -> int:
    """Number of tasks that have no result."""
    from nllgen.launch.status import status

    return sum(row.state not in ("done", "diverged") for row in status(folder, study))


def _tell_lost(jobs: list[Any]) -> int:
    """Say on standard error which supervisors did not come to their end; returns how many."""
    from nllgen.launch.submit import lost

    reasons = [reason for job in jobs if (reason := lost(job))]
    for reason in reasons:
        click.echo(reason, err=True)
    return len(reasons)


def run_in_foreground(study: Study, root: Path, cell_id: str, threads: int, device: str) -> None:
    """Freeze the study and run one task here, with the truth and the data set before it where it needs them.

    Raises:
        ConfigError: the study has no such cell.
        StoppedError: Ctrl-C; the state is saved.
    """
    from nllgen.launch.attempt import recorded, renewing
    from nllgen.launch.claims import Claims
    from nllgen.launch.stopping import StopRequest
    from nllgen.launch.tasks import is_done, tasks_of

    _require_torch()
    from nllgen.worker.entry import enter

    known = {"truth", "dataset", *(cell.id for cell in study.cells)}
    if cell_id not in known:
        raise ConfigError(f"study {study.name} has no cell {cell_id!r}", "`nllgen plan` lists the ids of its cells")
    folder, frozen, _ = _frozen(study, root, click.echo)
    tasks = {task.name: task for task in tasks_of(frozen, folder)}
    if cell_id not in tasks:
        raise ConfigError(f"study {study.name} has no {cell_id}", "its grid has no truth section, or needs none")
    order = [cell_id]
    while needs := [name for name in tasks[order[0]].needs if name not in order]:
        order = [*needs, *order]
    stop, claims, submission = StopRequest(), Claims(), f"run-{uuid.uuid4().hex[:8]}"
    for task in (tasks[name] for name in order):
        if is_done(task, frozen, folder):
            click.echo(f"already done: {task.label}")
            continue
        claim = claims.take(task.claim)
        if claim is None:
            raise ConfigError(f"{task.label} is being run by somebody else", f"see: nllgen status {folder.path}")
        with recorded(task, claim, submission) as attempt, renewing(claim):
            name, number = attempt.name, attempt.number
            enter(folder, task.name, threads, device, asset_folder(), stop, attempt=name, attempts=number)
