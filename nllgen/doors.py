"""What the doors have in common: reading a grid, asking the folder, showing tables. Imported when a door is opened."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nllgen.assets import AssetStatus, asset_folder, mnist_pictures
from nllgen.errors import ConfigError, ConflictError, MachineError, NllgenError, StoppedError
from nllgen.store.dataset import read_dataset_head
from nllgen.store.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.grid import load_study
from nllgen.study.hardware import auto_precision
from nllgen.study.merge import merge
from nllgen.study.plan import Found, Plan, make_plan

if TYPE_CHECKING:
    from nllgen.launch.status import TaskStatus
    from nllgen.store.collect import Collected

_MAX_ROWS = 40


def load(grid: str, root: Path) -> Study:
    """A grid. ``precision: auto`` is this machine's, or what it was where the study was first submitted."""
    here = auto_precision()
    study = load_study(grid, precision=here)
    folder = StudyDir(root / study.name)
    if not folder.is_frozen:
        return study
    frozen = folder.read_study()
    if not _fits(frozen, study):
        with contextlib.suppress(ConfigError):  # cells that come out the same in the other precision
            other = load_study(grid, precision="fp32" if here == "bf16" else "bf16")
            return other if _fits(frozen, other) else study
    return study


def _fits(frozen: Study, study: Study) -> bool:
    try:
        merge(frozen, study)
    except ConflictError:
        return False
    return True


def plan_of(study: Study, root: Path) -> Plan:
    """The plan of a study under a root, whether it was submitted there before or not.

    Raises:
        ConflictError: the study that is frozen there is another one.
    """
    folder = StudyDir(root / study.name)
    if folder.is_frozen:
        study = merge(folder.read_study(), study)
    truth = folder.found_truth(study.truth) if study.truth else None
    return make_plan(
        study,
        folder.found(study.cells),
        truth_found=truth,
        dataset_found=_dataset_found(folder, study),
        cores=len(os.sched_getaffinity(0)),
    )


def _dataset_found(folder: StudyDir, study: Study) -> Found | None:
    from nllgen.launch.tasks import large_enough

    if study.truth is None:
        return None
    path = folder.dataset(study.truth.id)
    if large_enough(path, study.dataset):
        return Found(state="done", detail="large enough")
    if not path.exists():
        return None
    try:
        read_dataset_head(path)
    except NllgenError as error:
        return Found(state="damaged", detail=error.message)
    return Found(state="partial", detail="too small: it grows")


def submit_local(
    study: Study, root: Path, workers: int | None, device: str, *, wait: bool, quiet: bool
) -> tuple[StudyDir, int]:
    """Freeze, start, and with ``wait`` stay until all has run.

    Returns:
        The study folder and the number of runs and supervisors that failed (0 without ``wait``).

    Raises:
        MachineError: there is no such device here; nothing was frozen.
        StoppedError: Ctrl-C; the workers have saved their state.
    """
    from nllgen.launch.gpus import share_out
    from nllgen.launch.submit import freeze, start_local

    _require_torch()
    share_out(device)
    folder, frozen, num_new = freeze(study, root)
    made = plan_of(frozen, root)
    say = (lambda text: None) if quiet else click.echo
    say(f"{folder.path}: {len(frozen.cells)} cells, {num_new} new; {made.num_run} to run, {made.num_skip} done before")
    if made.num_run == 0:
        say(f"nothing to run; next: nllgen collect {folder.path}")
        return folder, 0
    slots = min(workers or len(os.sched_getaffinity(0)), made.num_run)
    jobs = start_local(folder, asset_folder(), slots, device)
    if not wait:
        say(f"{slots} workers run in the background; next: nllgen status {folder.path}")
        return folder, 0
    _wait(folder, frozen, jobs, say)
    failed = _count_failed(folder, frozen)
    say(f"{failed} failed; see: nllgen status {folder.path}" if failed else f"next: nllgen collect {folder.path}")
    return folder, failed + _tell_lost(jobs)


def _require_torch() -> None:
    """Raises before anything is frozen: workers run with this Python."""
    if importlib.util.find_spec("torch") is None:
        raise MachineError("torch is not installed, and training needs it", "pip install 'nllgen[train]'")


def _wait(folder: StudyDir, study: Study, jobs: list[Any], say: Any) -> None:
    """Follow the run; Ctrl-C asks the workers to stop and waits for their checkpoints."""
    try:
        _follow(folder, study, jobs, say)
    except KeyboardInterrupt:
        say("\nstopping: the workers save their state (Ctrl-C once more to leave them to it)")
        folder.stop.touch()
        _join(jobs)
        again = "run the same command again: it goes on where it stopped"
        raise StoppedError(f"{folder.path}: stopped, nothing is lost", again) from None


def _follow(folder: StudyDir, study: Study, jobs: list[Any], say: Any) -> None:
    from nllgen.launch.status import status

    shown: dict[str, str] = {}
    while True:
        ended = all(job.done() for job in jobs)
        rows = status(folder, study)
        num_done = sum(row.state in ("done", "diverged") for row in rows)
        for row in rows:
            if row.state != shown.get(row.name, "waiting") and row.state != "stopped":
                say(f"{time.strftime('%H:%M:%S')}  [{num_done}/{len(rows)}]  {row.state:<9} {row.name}  {row.label}")
            shown[row.name] = row.state
        if ended:
            return
        time.sleep(1.0 if len(rows) < 100 else 5.0)


def _join(jobs: list[Any]) -> None:
    while not all(job.done() for job in jobs):
        time.sleep(0.2)


def _count_failed(folder: StudyDir, study: Study) -> int:
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
    from nllgen.launch.submit import freeze
    from nllgen.launch.tasks import is_done, tasks_of

    _require_torch()
    from nllgen.worker.entry import enter

    known = {"truth", "dataset", *(cell.id for cell in study.cells)}
    if cell_id not in known:
        raise ConfigError(f"study {study.name} has no cell {cell_id!r}", "`nllgen plan` lists the ids of its cells")
    folder, frozen, _ = freeze(study, root)
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


def collect_study(folder: StudyDir, out: Path | None, allow_missing: bool) -> Collected:
    """Collect, with pictures of real MNIST where the asset is there."""
    from nllgen.store.collect import collect

    study = folder.read_study()
    size = (study.truth or study.cells[0]).data.image_size
    pictures = mnist_pictures(asset_folder(), 64, size)
    reference = {} if pictures is None else {"mnist": pictures}
    return collect(folder, out or folder.path / "study.h5", allow_missing=allow_missing, reference=reference)


def print_json(value: dict[str, Any]) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=1, allow_nan=False))


def _table(*headings: str) -> Any:
    from rich.table import Table

    return Table(*headings, box=None, header_style="bold", pad_edge=False)


def _print(*things: Any) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    for thing in things:
        console.print(thing)


def show_assets(found: list[AssetStatus]) -> None:
    """A table of assets."""
    table = _table("asset", "state", "hash", "why it matters", "path")
    for asset in found:
        table.add_row(asset.name, asset.state, asset.digest, asset.why, str(asset.path))
    _print(table)


def show_plan(plan: Plan) -> None:
    """A table of what runs, with the totals."""
    table = _table("id", "run", "", "does", "why", "core-minutes")
    for row in plan.rows[:_MAX_ROWS]:
        minutes = "" if row.action != "run" else "?" if row.estimate == "none" else f"{row.seconds / 60:.1f}"
        table.add_row(row.id, row.kind, row.label, row.action, row.reason, minutes)
    left_out = len(plan.rows) - _MAX_ROWS
    _print(table, f"… and {left_out} more (all with --json)" if left_out > 0 else "")
    _print(
        f"study {plan.study}: {plan.num_run} to run, {plan.num_skip} to skip; about {plan.core_hours:.2f} core-hours, "
        f"{plan.wall_seconds / 60:.0f} min on {plan.cores} cores"
    )


def show_status(rows: list[TaskStatus]) -> None:
    """Counts, and a table of all tasks that are not simply done."""
    from nllgen.launch.status import to_json

    counts = to_json(rows)["counts"]
    table = _table("id", "run", "state", "attempts", "detail", "log")
    for row in rows[:_MAX_ROWS]:
        table.add_row(row.name, row.label, row.state, str(row.attempts), row.detail, row.log)
    left_out = len(rows) - _MAX_ROWS
    _print(table, f"… and {left_out} more (all with --json)" if left_out > 0 else "")
    _print(", ".join(f"{count} {state}" for state, count in counts.items() if count))
