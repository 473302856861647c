"""The doors: parse, call one function, print. A door imports what it needs when it is opened."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from nllgen.errors import EXIT_CELLS_FAILED, EXIT_STOPPED, MachineError, NllgenError

if TYPE_CHECKING:
    from nllgen.store.study_dir import StudyDir

_GRID = click.option("--grid", "-g", required=True, help="A YAML study, or the name of a built-in one.")
_ROOT = click.option(
    "--root", type=click.Path(path_type=Path), help="Where studies lie; default $NLLGEN_ROOT or ./runs."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_STUDY = click.argument("study_dir", type=click.Path(path_type=Path))


def _checked_device(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """Syntax alone, before anything is frozen; whether there is such a device is the machine's to say."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", value):
        raise click.BadParameter(f"{value!r} is not one of auto, cpu, cuda, cuda:N (such as cuda:0)")
    return value


_DEVICE = click.option(
    "--device", default="auto", show_default=True, callback=_checked_device, help="auto, cpu, cuda or cuda:N."
)


class Doors(click.Group):
    """click would end both of these with exit code 1, which means that cells failed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Open a door."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            ctx.exit(EXIT_STOPPED)
        except BrokenPipeError:  # `nllgen plan | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


@click.group(cls=Doors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="nllgen")
def cli() -> None:
    """What does maximum likelihood do to a generative model, and what does adversarial training do to it?"""


@cli.group()
def assets() -> None:
    """Fetch, verify and list what training needs from outside."""


@assets.command("fetch")
@click.argument("name", type=click.Choice(["mnist", "inception"]))
@click.option("--from", "source", type=click.Path(path_type=Path), help="A folder (mnist) or file (inception) here.")
def assets_fetch(name: str, source: Path | None) -> None:
    """Fetch an asset once; verified by its hash, repeated only for what is missing."""
    from nllgen.assets import asset_folder, fetch_inception, fetch_mnist

    if name == "mnist":
        path = fetch_mnist(asset_folder(), source=source, mirrors=() if source else _mirrors(), say=_say)
    else:
        path = fetch_inception(asset_folder(), source=source, url=None if source else _inception_url(), say=_say)
    _say(f"{name} is in {path}")


def _mirrors() -> tuple[str, ...]:
    """torchvision's own mirrors of MNIST; none where it cannot be imported."""
    try:
        from nllgen.data.mnist import mirrors

        return tuple(mirrors())
    except (ImportError, MachineError):
        return ()


def _inception_url() -> str | None:
    """Where pytorch-fid fetches its weights from; None where it cannot be imported."""
    try:
        from nllgen.metrics.inception import weights_url

        return weights_url()
    except (ImportError, MachineError):
        return None


@assets.command("list")
def assets_list() -> None:
    """What is there, its hash, what is missing and why it matters."""
    from nllgen.assets import asset_folder, status
    from nllgen.doors import show_assets

    show_assets(status(asset_folder()))


@cli.command()
@_GRID
@_ROOT
@_JSON
def plan(grid: str, root: Path | None, as_json: bool) -> None:
    """What would run, why, and what it costs. Changes nothing."""
    from nllgen.doors import load, plan_of, print_json, show_plan

    made = plan_of(load(grid, _root(root)), _root(root))
    print_json(made.to_json()) if as_json else show_plan(made)


@cli.command()
@_GRID
@_ROOT
@click.option("--local", is_flag=True, help="Run on this machine, one cell a core.")
@click.option("--workers", type=click.IntRange(1, 1024), help="Cells at once; default one a core.")
@click.option("--wait", is_flag=True, help="Stay until everything has run.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@_DEVICE
@_JSON
def submit(
    grid: str,
    root: Path | None,
    local: bool,
    workers: int | None,
    wait: bool,
    dry_run: bool,
    device: str,
    as_json: bool,
) -> None:
    """Freeze a study and run what is missing of it. Submitting twice runs nothing twice."""
    from nllgen import doors

    study = doors.load(grid, _root(root))
    made = doors.plan_of(study, _root(root))
    if dry_run:
        doors.print_json(made.to_json()) if as_json else doors.show_plan(made)
        return
    if not local:
        raise MachineError(
            "this version runs studies on this machine only", "add --local (submission to Slurm is not there yet)"
        )
    folder, failed = doors.submit_local(study, _root(root), workers, device, wait=wait, quiet=as_json)
    if as_json:
        doors.print_json({"study_dir": str(folder.path), "plan": made.to_json()})
    if failed:
        sys.exit(EXIT_CELLS_FAILED)


@cli.command()
@_GRID
@_ROOT
@click.option("--cell", "cell_id", required=True, help="Its id, as `nllgen plan` shows it; or `truth` or `dataset`.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Default: every core.")
@_DEVICE
def run(grid: str, root: Path | None, cell_id: str, threads: int | None, device: str) -> None:
    """Run one cell in the foreground, with what it needs before it."""
    from nllgen import doors

    doors.run_in_foreground(doors.load(grid, _root(root)), _root(root), cell_id, threads or _cores(), device)


@cli.command()
@_STUDY
@_JSON
def status(study_dir: Path, as_json: bool) -> None:
    """What became of each run of a study."""
    from nllgen import doors
    from nllgen.launch.status import status as status_of
    from nllgen.launch.status import to_json

    folder = _folder(study_dir)
    rows = status_of(folder, folder.read_study())
    doors.print_json(to_json(rows)) if as_json else doors.show_status(rows)


@cli.command()
@_STUDY
@click.option("--metric", "metrics", multiple=True, required=True, help="A group of metrics; may be given again.")
@click.option("--cell", "cell_ids", multiple=True, help="An id, or `truth`; may be given again. Default: all.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Default: every core.")
@_DEVICE
def evaluate(
    study_dir: Path, metrics: tuple[str, ...], cell_ids: tuple[str, ...], threads: int | None, device: str
) -> None:
    """Measure a further metric on finished cells, from the weights they kept; nothing is trained."""
    from nllgen.measuring_doors import evaluate_study

    done = evaluate_study(_folder(study_dir), metrics, cell_ids, threads or _cores(), device)
    _say(
        f"{done.measured} measured, {done.there} there before, {done.unmeasurable} that lack what it needs, "
        f"{done.unfinished} without a result"
    )
    _say(f"next: nllgen collect {study_dir}")


@cli.command()
@click.option("--truth", type=click.Path(path_type=Path), required=True, help="truth.pt, its folder, or a study's.")
@click.option("--samples", type=click.Path(path_type=Path), help=".npz or HDF5 with x or samples/x (n, C, H, W).")
@click.option("--log-probs", type=click.Path(path_type=Path), help=".npz or HDF5 with log_prob (N,), nats.")
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="Rows of dataset.h5 that the log-densities are of.",
)
@click.option(
    "--space",
    type=click.Choice(["logits", "pixels"]),
    default="logits",
    show_default=True,
    help="What the samples are; pixels lie in [0, 1], or are uint8.",
)
@_DEVICE
@_JSON
def score(
    truth: Path,
    samples: Path | None,
    log_probs: Path | None,
    split: str,
    space: Literal["logits", "pixels"],
    device: str,
    as_json: bool,
) -> None:
    """Score log-densities or samples made elsewhere against a truth of known density."""
    from nllgen import measuring_doors
    from nllgen.doors import print_json

    found = measuring_doors.score(truth.absolute(), samples, log_probs, split, space, device)
    print_json(measuring_doors.as_json(found)) if as_json else measuring_doors.show_scores(found)


@cli.command()
@_STUDY
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Default: study.h5 in the study folder.")
@click.option("--allow-missing", is_flag=True, help="Write it with its holes marked.")
def collect(study_dir: Path, out: Path | None, allow_missing: bool) -> None:
    """Prove a study complete and write it as one study.h5."""
    from nllgen.doors import collect_study

    found = collect_study(_folder(study_dir), out, allow_missing)
    _say(f"{found.num_done} done, {found.num_diverged} diverged, {len(found.holes)} without a result: {found.path}")
    _say(f"next: nllgen report {found.path} --out report")


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
        _say(line)
    _say(f"open {paths.html}")


@cli.command(hidden=True)
@_STUDY
@click.argument("task")
@click.option("--attempt", required=True)
@click.option("--attempts", type=int, default=1)
@click.option("--assets", "assets_dir", type=click.Path(path_type=Path), required=True)
@click.option("--threads", type=click.IntRange(1, 1024), required=True)
@click.option("--checkpoint-s", type=float, default=300.0)
@click.option("--checkpoint-steps", type=int, default=0)
@_DEVICE
def worker(study_dir: Path, task: str, threads: int, device: str, assets_dir: Path, **how: Any) -> None:
    """Run one task for a supervisor; it stops when its standard input is closed."""
    from nllgen.launch.stopping import StopRequest
    from nllgen.worker.entry import enter

    enter(_folder(study_dir), task, threads, device, assets_dir, StopRequest(watch_stdin=True), **how)


def _folder(path: Path) -> StudyDir:
    from nllgen.store.study_dir import StudyDir

    return StudyDir(path.absolute())


def _root(root: Path | None) -> Path:
    return (root or Path(os.environ.get("NLLGEN_ROOT") or "runs")).absolute()


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _say(text: str) -> None:
    click.echo(text)


def _fail(error: NllgenError) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(error.exit_code)


def main() -> None:
    """The entry point: expected failures become one message and an exit code."""
    try:
        cli(prog_name="nllgen")
    except NllgenError as error:
        _fail(error)
    except OSError as error:
        from nllgen.store.atomic import way_out

        _fail(MachineError(f"{error.filename or 'a file'}: {error.strerror or error}", way_out(error)))
