"""The commands that plan and run a study: plan, submit, run."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cloup

from nllgen.cli.analysis import importing_analysis
from nllgen.cli.completion import complete_cells, complete_profiles
from nllgen.cli.options import DEVICE, JSON, NOTIFY, NUM_THREADS, PATH, SET, TRUST, example, grid_argument
from nllgen.cli.output import MAX_ROWS, echo, ignore, print_json, print_rows, print_tables, table, warn
from nllgen.errors import EXIT_CELLS_FAILED

if TYPE_CHECKING:
    from nllgen_analysis.planned import PlannedClaim

    from nllgen.launch.attempt import Attempt
    from nllgen.launch.start import PreparedStudy
    from nllgen.launch.stop_signal import StopRequest
    from nllgen.planning.plan import Plan
    from nllgen.storage.study_dir import StudyDir
    from nllgen.study.config import Study


def is_available(source: str) -> bool:
    """Return whether a source of optional data is on this machine."""
    from nllgen.assets import asset_folder, has_images
    from nllgen.study.image_sets import IMAGE_SETS

    return source not in IMAGE_SETS or has_images(asset_folder(), source)


@cloup.command(
    epilog=example("nllgen plan smoke", "nllgen plan mine.yaml --set paradigm.steps=100", "nllgen plan misspec --power")
)
@grid_argument
@SET
@cloup.option(
    "--profile", metavar="PROFILE", help="Profile of a cluster: plan for its GPUs and its precision.",
    shell_complete=complete_profiles,
)  # fmt: skip
@cloup.option("--power", is_flag=True, help="Show the effects that the rules of the claims can see with these seeds.")
@cloup.option("--trust", is_flag=True, help="Import the study's own models, to time them before they have run.")
@JSON
def plan(
    grid: str, overrides: tuple[str, ...], root: Path, profile: str | None, power: bool, trust: bool, as_json: bool
) -> None:
    """Show which cells would run, why, and at what cost.

    Changes nothing. The first plan on a machine measures its speed, in about ten seconds.
    """
    from nllgen.planning.study_plan import load_study_at

    cluster, line = None, ignore if as_json else echo
    if profile:
        from nllgen.launch.profile import load_profile

        cluster = load_profile(profile)
    study = load_study_at(grid, root, is_available, cluster.precision if cluster else None, overrides, line)
    gpus = cluster.resources(study.resources).gpus if cluster else None
    study_plan = _priced_plan(study, root, gpus, trust)
    claims = _planned_claims(study) if power else []
    if as_json:
        print_json(study_plan.to_json() | ({"claims": [vars(claim) for claim in claims]} if power else {}))
        return
    print_plan(study_plan)
    if power:
        _print_power(claims)


def _priced_plan(study: Study, root: Path, gpus: int | None, trust: bool) -> Plan:
    """Plan a study; models of the user's own that have not run yet are timed where that is allowed."""
    from nllgen.launch.calibrate import calibrate
    from nllgen.planning.study_plan import plan_study_at
    from nllgen.study.hardware import num_cores

    make = partial(plan_study_at, study, root, num_cores(), calibration=calibrate(warn), gpus=gpus)
    study_plan = make()
    unpriced = set(study_plan.unpriced)
    if not unpriced:
        return study_plan
    from nllgen.launch.own_models import time_own_models

    cells = [cell for cell in study.cells if cell.id in unpriced]
    return make(timings=time_own_models(study, cells, accept=trust, echo=warn))


def _planned_claims(study: Study) -> list[PlannedClaim]:
    with importing_analysis():
        from nllgen_analysis.planned import planned_claims
    return planned_claims(study)


def _print_power(claims: list[PlannedClaim]) -> None:
    from nllgen_analysis.planned import power_lines

    for line in power_lines(claims):
        echo(line)


def print_plan(plan: Plan) -> None:
    """Print a table of tasks, and the totals."""
    from nllgen.planning.study_plan import elsewhere_note, left_out_note
    from nllgen.storage.states import weightless_note
    from nllgen.study.quantities import duration

    gpu_headings = ("GPU-minutes", "GPU GB") if plan.gpus else ()
    rows = table("id", "run", "", "does", "why", "core-minutes", "GB", *gpu_headings)
    for row in plan.rows[:MAX_ROWS]:
        minutes = "" if row.action != "run" else "?" if row.estimate == "none" else f"{row.seconds / 60:.1f}"
        is_own = row.estimate in ("none", "timed")  # whose memory nothing shows
        memory = f"{row.memory_gb:.1f}" if row.memory_gb and not is_own else ""
        on_gpu = (f"{row.gpu_seconds / 60:.1f}", f"{row.gpu_memory_gb:.1f}") if row.gpu_seconds and memory else ("", "")
        cells = (row.id, row.kind, row.label, row.action, row.reason, minutes, memory)
        rows.add_row(*cells, *on_gpu[: len(gpu_headings)])
    print_rows(rows, len(plan.rows))
    print_tables(
        f"study {plan.study}: {plan.num_run} to run, {plan.num_skip} to skip; about {plan.core_hours:.2f} core-hours, "
        f"{plan.evaluation_share:.0%} of them for evaluations; {duration(plan.wall_seconds)} on {plan.cores} cores",
        *([plan.calibration.note] if plan.num_run else []),
        *([f"on GPUs about {plan.gpu_hours:.2g} GPU-hours; {plan.gpu_rate.note}"] if plan.gpu_hours else []),
        *map(left_out_note, plan.left_out),
        *(f"no Fréchet distance on LeNet's features: {reason}" for reason in plan.unmeasured),
        *(elsewhere_note(plan, study) for study in plan.elsewhere),
        *filter(None, [weightless_note(plan.weightless, plan.study)]),
    )


@cloup.command(
    epilog=example(
        "nllgen submit smoke --local --wait",
        "nllgen submit misspec --profile mine --container nllgen.sif --dry-run",
        "nllgen submit misspec --profile mine --notify 'echo \"$NLLGEN_MESSAGE\" | mail -s nllgen me@example.org'",
    )
)
@grid_argument
@SET
@cloup.option(
    "--profile", metavar="PROFILE", help="Profile of the cluster: a file, or a name. [default: $NLLGEN_PROFILE]",
    shell_complete=complete_profiles,
)  # fmt: skip
@cloup.option("--local", is_flag=True, help="Run on this machine instead of a cluster.")
@cloup.option(
    "--container", "--image", "container", type=PATH, metavar="SIF",
    help="Run in this Apptainer container. [default: the profile's]",
)  # fmt: skip
@cloup.option("--strict-container", is_flag=True, help="Run again the cells that ran in another container.")
@cloup.option(
    "--pack", metavar="N", type=cloup.IntRange(1, 256), default=1, show_default=True,
    help="Cells that run at once in one job; with --local, on each GPU. Each is a process.",
)  # fmt: skip
@cloup.option(
    "--workers", metavar="N", type=cloup.IntRange(1, 1024),
    help="Jobs that run one cell after another [default: the profile's, else a job per cell]; with --local, cells at "
    "once [default: --pack on each GPU, else one per core].",
)  # fmt: skip
@cloup.option("--wait", is_flag=True, help="Wait until all cells have run.")
@NOTIFY
@cloup.option("--dry-run", is_flag=True, help="Print the plan and, for a cluster, the batch scripts; submit nothing.")
@TRUST
@DEVICE
@JSON
def submit(
    grid: str, overrides: tuple[str, ...], root: Path, profile: str | None, local: bool, container: Path | None,
    strict_container: bool, pack: int, workers: int | None, wait: bool, notify: str, dry_run: bool, trust: bool,
    device: str, as_json: bool,
) -> None:  # fmt: skip
    """Freeze a study and run its missing cells.

    Submitting a study twice runs no cell twice. Ends with 1 if --wait finds cells that failed.
    """
    from nllgen.assets import asset_folder
    from nllgen.cli.progress import progress_line
    from nllgen.launch.start import StartOptions, prepare, start

    options = StartOptions(
        grid, root, asset_folder(), profile=profile, local=local, container=container,
        strict_container=strict_container, pack=pack, workers=workers or 0, device=device, dry_run=dry_run,
        overrides=overrides, trust=trust, notify=notify,
    )  # fmt: skip
    line = ignore if as_json else echo
    prepared = prepare(options, is_available, line)
    if dry_run:
        _print_preview(prepared, as_json=as_json)
        return
    study_dir, num_failed = start(prepared, echo=line, warn=warn, progress=progress_line(line) if wait else None)
    if as_json:
        print_json({"study_dir": str(study_dir.path), "plan": prepared.plan.to_json()})
    if num_failed:
        sys.exit(EXIT_CELLS_FAILED)


def _print_preview(prepared: PreparedStudy, *, as_json: bool) -> None:
    from nllgen.launch.start import preview

    if not as_json:
        print_plan(prepared.plan)
    submission = preview(prepared, ignore if as_json else echo)
    if as_json:
        print_json({"plan": prepared.plan.to_json()} | submission)


@cloup.command(epilog=example("nllgen run smoke --cell truth"))
@grid_argument
@SET
@cloup.option(
    "--cell", "cell_id", metavar="CELL", required=True, shell_complete=complete_cells,
    help="Id of a cell, as nllgen plan shows it; or truth or dataset.",
)  # fmt: skip
@NUM_THREADS
@TRUST
@DEVICE
def run(
    grid: str, overrides: tuple[str, ...], root: Path, cell_id: str, threads: int | None, trust: bool, device: str
) -> None:
    """Run one cell in this terminal.

    The truth and the data set that it needs are made first."""
    from nllgen.assets import asset_folder
    from nllgen.cli.progress import task_display
    from nllgen.launch.foreground import run_in_foreground
    from nllgen.launch.gpus import require_torch
    from nllgen.planning.study_plan import load_study_at
    from nllgen.study.hardware import num_cores
    from nllgen.study.run_options import RunOptions, TaskOrder

    study = load_study_at(grid, root, is_available, None, overrides, echo)
    require_torch()
    from nllgen.worker.setup import enter

    num_threads = threads or num_cores()
    options = RunOptions(asset_folder(), device, num_threads)

    def run_attempt(study_dir: StudyDir, attempt: Attempt, stop: StopRequest) -> None:
        order = TaskOrder(attempt.task.name, attempt.name, attempt.number, attempt.threads)
        enter(study_dir, order, options, stop, task_display())

    run_in_foreground(study, root, cell_id, num_threads, run_attempt, echo, trust=trust)
