"""The command ``nllgen``: its groups of commands, and its exit codes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
import cloup

from nllgen import __version__
from nllgen.cli import control_commands as control
from nllgen.cli import machine_commands as machine
from nllgen.cli import measure_commands as measure
from nllgen.cli import result_commands as result
from nllgen.cli import study_commands as study
from nllgen.cli import watch_commands as watch
from nllgen.cli.crash import report_crash
from nllgen.cli.options import STUDY, example, folder_at
from nllgen.errors import EXIT_STOPPED, MachineError, NllgenError


class CommandGroup(cloup.Group):
    """A group that ends with the project's exit codes; click's own for an interrupt, 1, means that cells failed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            ctx.exit(EXIT_STOPPED)
        except BrokenPipeError:  # `nllgen plan | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


def _section(title: str, *commands: click.Command) -> cloup.Section:
    return cloup.Section(title, {str(command.name): command for command in commands})


@cloup.group(
    cls=CommandGroup,
    sections=[
        _section("First steps", machine.assets, machine.doctor, machine.build, machine.shell),
        _section("Run a study", study.plan, study.submit, study.run),
        _section("Watch and control a study", watch.status, watch.logs, control.cancel, control.retry, control.check),
        _section("Results", result.collect, result.report),
        _section("Measure trained models", measure.evaluate, measure.score, measure.draw),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example("nllgen plan --grid smoke", "nllgen submit --grid smoke --local --wait", "nllgen status smoke"),
)
@click.version_option(__version__, prog_name="nllgen")
def cli() -> None:
    """Train the same generative model by maximum likelihood and as a GAN, and compare the two."""


def main() -> None:
    """Run the command line; print an expected failure as one message, and an unexpected one as one line."""
    _open_missing_streams()
    try:
        cli(prog_name="nllgen")
    except NllgenError as error:
        _fail(error)
    except OSError as error:
        from nllgen.storage.atomic import hint_for

        _fail(MachineError(f"{error.filename or 'a file'}: {error.strerror or error}", hint_for(error)))
    except Exception as error:
        if sys.argv[1:2] == ["worker"]:  # its standard error is a log
            raise
        report_crash(error)


def _fail(error: NllgenError) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(error.exit_code)


def _open_missing_streams() -> None:
    """Open standard input, output and error where they are closed: the next file would get their number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


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
