"""The commands: parse, call one function, print. A command imports what it needs when it is opened."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nllgen import __version__
from nllgen.cli.machine import assets, build, doctor, shell
from nllgen.cli.measure import draw, evaluate, score
from nllgen.cli.options import DEVICE, GRID, JSON, ROOT, STUDY, cores, echo, folder_at, root_of
from nllgen.errors import EXIT_CELLS_FAILED, EXIT_ENVIRONMENT, EXIT_STOPPED, ConfigError, MachineError, NllgenError

if TYPE_CHECKING:
    pass


class CommandGroup(click.Group):
    """click would end both of these with exit code 1, which means that cells failed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Open a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            ctx.exit(EXIT_STOPPED)
        except BrokenPipeError:  # `nllgen plan | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="nllgen")
def cli() -> None:
    """What does maximum likelihood do to a generative model, and what does adversarial training do to it?"""


for command in (assets, doctor, build, shell, evaluate, draw, score):
    cli.add_command(command)


@cli.command()
@GRID
@ROOT
@JSON
def plan(grid: str, root: Path | None, as_json: bool) -> None:
    """What would run, why, and what it costs. Changes nothing."""
    from nllgen.cli.common import load, plan_of, print_json, show_plan

    made = plan_of(load(grid, root_of(root)), root_of(root))
    print_json(made.to_json()) if as_json else show_plan(made)


@cli.command()
@GRID
@ROOT
@click.option("--profile", help="The cluster: a file, or a name; default $NLLGEN_PROFILE.")
@click.option("--local", is_flag=True, help="Run on this machine, one cell a core.")
@click.option(
    "--container", type=click.Path(path_type=Path), help="Run in this Apptainer container; default the profile's."
)
@click.option("--strict-container", is_flag=True, help="Results that another container made do not count.")
@click.option("--pack", type=click.IntRange(1, 256), default=1, help="Cells that run at once in one job.")
@click.option("--workers", type=click.IntRange(1, 1024), help="Jobs that take one cell after another.")
@click.option("--wait", is_flag=True, help="Stay until everything has run.")
@click.option("--dry-run", is_flag=True, help="Print the plan, with a profile also what sbatch would get, and stop.")
@DEVICE
@JSON
def submit(grid: str, root: Path | None, workers: int | None, wait: bool, dry_run: bool, **how: Any) -> None:
    """Freeze a study and run what is missing of it. Submitting twice runs nothing twice."""
    from nllgen.cli import launching
    from nllgen.cli.common import print_json

    quiet = how.pop("as_json")
    if how["local"] and how["pack"] > 1:
        raise ConfigError("--pack goes with a cluster", "a local run has --workers cells at once")
    request = launching.Request(grid, root_of(root), workers=workers or 0, quiet=quiet, dry_run=dry_run, **how)
    prepared = launching.prepare(request)
    if dry_run:
        found = launching.dry_run(prepared)
        print_json(found) if quiet else None
        return
    folder, failed = launching.submit(prepared, wait=wait)
    if quiet:
        print_json({"study_dir": str(folder.path), "plan": prepared.plan.to_json()})
    if failed:
        sys.exit(EXIT_CELLS_FAILED)


@cli.command()
@GRID
@ROOT
@click.option("--cell", "cell_id", required=True, help="Its id, as `nllgen plan` shows it; or `truth` or `dataset`.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Default: every core.")
@DEVICE
def run(grid: str, root: Path | None, cell_id: str, threads: int | None, device: str) -> None:
    """Run one cell in the foreground, with what it needs before it."""
    from nllgen.cli import foreground
    from nllgen.cli.common import load

    foreground.run_in_foreground(load(grid, root_of(root)), root_of(root), cell_id, threads or cores(), device)


@cli.command()
@STUDY
@click.option("--watch", is_flag=True, help="Again and again, until nothing runs or waits.")
@JSON
def status(study_dir: Path, watch: bool, as_json: bool) -> None:
    """What became of each run of a study; ends with 1 if one failed."""
    from nllgen.cli import watching

    if watch and as_json:
        raise ConfigError("--watch and --json exclude each other", "leave out one of them")
    sys.exit(
        watching.watch(folder_at(study_dir)) if watch else watching.print_status(folder_at(study_dir), as_json=as_json)
    )


@cli.command()
@STUDY
@click.argument("cell")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--job", "of_job", is_flag=True, help="What the job around it printed.")
def logs(study_dir: Path, cell: str, follow: bool, of_job: bool) -> None:
    """Print the log of CELL: an id, a unique beginning of one, truth or dataset."""
    from nllgen.cli import watching

    watching.logs(folder_at(study_dir), cell, follow=follow, of_job=of_job)


@cli.command()
@STUDY
@click.option("--repair", is_flag=True, help="Take from others the right to write what is this user's.")
def check(study_dir: Path, repair: bool) -> None:
    """Look for what others could change in a study's folder; ends with 3 if there is anything."""
    from nllgen.cli.checking import check_study

    if not check_study(folder_at(study_dir), repair=repair):
        sys.exit(EXIT_ENVIRONMENT)


@cli.command()
@STUDY
@click.argument("cells", nargs=-1, metavar="[CELL]...")
@click.option("--now", is_flag=True, help="End running jobs through the scheduler, too.")
def cancel(study_dir: Path, cells: tuple[str, ...], now: bool) -> None:
    """Stop a study, or CELLs of it; what runs saves its state."""
    from nllgen.cli import changing

    changing.cancel(folder_at(study_dir), cells, now=now)


@cli.command()
@STUDY
@click.argument("cells", nargs=-1, metavar="[CELL]...")
@click.option("--kind", "kinds", multiple=True, help="Only what failed like this, such as timeout or node-failure.")
@click.option("--profile", help="Another cluster than the last time.")
@click.option("--local", is_flag=True, help="Run on this machine.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and stop.")
def retry(study_dir: Path, **how: Any) -> None:
    """Send what failed or was stopped again, with a clean record; CELLs, or all."""
    from nllgen.cli import changing

    changing.retry(folder_at(study_dir), changing.Request(**how))


@cli.command()
@STUDY
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Default: study.h5 in the study folder.")
@click.option("--allow-missing", is_flag=True, help="Write it with its holes marked.")
@click.option("--force", is_flag=True, help="Replace OUT even where it is no older study.h5 of this study.")
def collect(study_dir: Path, out: Path | None, allow_missing: bool, force: bool) -> None:
    """Prove a study complete and write it as one study.h5."""
    from nllgen.cli.common import collect_study

    found = collect_study(folder_at(study_dir), out, allow_missing, force=force)
    echo(f"{found.num_done} done, {found.num_diverged} diverged, {len(found.holes)} without a result: {found.path}")
    echo(f"next: nllgen report {found.path} --out report")


@cli.command()
@click.argument("study_h5", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for figures, tables and HTML.")
def report(study_h5: Path, out: Path) -> None:
    """Verdicts, figures, tables and report.html from a study.h5, with neither torch nor a network."""
    try:
        from nllgen_analysis.report import write_report
    except ImportError as error:
        raise MachineError(
            f"the analysis packages are not installed ({error.name})", "pip install 'nllgen[analysis]'"
        ) from error
    paths = write_report(study_h5, out)
    for line in paths.lines:
        echo(line)
    echo("")
    for sentence in paths.findings:
        echo(f"• {sentence}")
    echo(f"open {paths.html}")


@cli.command(hidden=True)
@STUDY
@click.option("--options", required=True, help="RunOptions as JSON.")
def worker(study_dir: Path, options: str) -> None:
    """Run tasks for a supervisor, which orders them on standard input; stop when that is closed."""
    from nllgen.launch.stop_signal import StopRequest
    from nllgen.storage.provenance import check_code
    from nllgen.study.run_options import RunOptions
    from nllgen.worker.loop import serve
    from nllgen.worker.setup import enter

    run_options = RunOptions.from_json(options)
    check_code(run_options.code_sha256)
    directory, stop = folder_at(study_dir), StopRequest(watch_stdin=True)
    sys.exit(serve(stop.orders(), lambda order: enter(directory, order, run_options, stop)))


def _fail(error: NllgenError) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(error.exit_code)


def _open_missing_streams() -> None:
    """Open what standard input, output or error lack: the next file would get that number, and what is said."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def main() -> None:
    """The entry point: expected failures become one message and an exit code."""
    _open_missing_streams()
    try:
        cli(prog_name="nllgen")
    except NllgenError as error:
        _fail(error)
    except OSError as error:
        from nllgen.storage.atomic import hint_for

        _fail(MachineError(f"{error.filename or 'a file'}: {error.strerror or error}", hint_for(error)))
