"""The command ``nllgen``: its groups of commands, and its exit codes."""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import click
import cloup

from nllgen import __version__
from nllgen.cli import compare_commands as compare
from nllgen.cli import control_commands as control
from nllgen.cli import export_commands as export
from nllgen.cli import machine_commands as machine
from nllgen.cli import measure_commands as measure
from nllgen.cli import result_commands as result
from nllgen.cli import study_commands as study
from nllgen.cli import watch_commands as watch
from nllgen.cli.crash import report_crash
from nllgen.cli.init_command import init
from nllgen.cli.notifying import notify
from nllgen.cli.options import PATH, example
from nllgen.cli.output import echo, warn
from nllgen.errors import EXIT_DONE, EXIT_STOPPED, MachineError, NllgenError

_WITHOUT_TORCH = ("plan", "submit", "status", "cancel", "retry", "collect", "check")


@contextlib.contextmanager
def _ending_unread() -> Iterator[None]:
    """End with 0 where nobody reads the output any more, as in ``nllgen plan | head``."""
    try:
        yield
    except (BrokenPipeError, SystemExit) as error:  # rich exits with 1
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        sys.exit(EXIT_DONE)


class CommandGroup(cloup.Group):
    """A group that ends with the project's exit codes; click's own for an interrupt, 1, means that cells failed."""

    @_ending_unread()
    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the options of the group, such as --help."""
        return super().make_context(*args, **extra)

    @_ending_unread()
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            warn("stopped")
            ctx.exit(EXIT_STOPPED)


def _section(title: str, *commands: click.Command) -> cloup.Section:
    return cloup.Section(title, {str(command.name): command for command in commands})


@cloup.group(
    cls=CommandGroup,
    sections=[
        _section("First steps", init, machine.assets, machine.doctor, machine.build, machine.shell, machine.completion),
        _section("Run a study", study.plan, study.submit, study.run),
        _section("Watch and control a study", watch.status, watch.logs, control.cancel, control.retry, control.check),
        _section("Results", result.collect, result.report, compare.compare, export.export),
        _section("Measure trained models", measure.evaluate, measure.score, measure.draw),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example("nllgen plan smoke", "nllgen submit smoke --local --wait", "nllgen status smoke"),
)
@click.version_option(__version__, prog_name="nllgen")
def cli() -> None:
    """Train the same generative model by maximum likelihood and as a GAN, and compare the two.

    A grid is the YAML file of a study; submitting it freezes the study in a directory. nllgen COMMAND --help has more.
    """


def main() -> None:
    """Run the command line; print an expected failure as one message, and an unexpected one as one line."""
    _prepare_streams()
    if sys.argv[1:2] and sys.argv[1] in _WITHOUT_TORCH:
        _keep_objects()
    try:
        sys.exit(cli.main(prog_name="nllgen", standalone_mode=False))
    except click.Abort:  # Ctrl-C before a command runs
        sys.exit(EXIT_STOPPED)
    except click.ClickException as error:
        _fail(error.exit_code, functools.partial(_show, error))
    except NllgenError as error:
        _fail_with(error)
    except OSError as error:
        from nllgen.storage.atomic import hint_for

        _fail_with(MachineError(f"{error.filename or 'a file'}: {error.strerror or error}", hint_for(error)))
    except MemoryError as error:
        _fail_with(MachineError(f"not enough memory: {error}".rstrip(": "), "run it on a machine with more memory"))
    except Exception as error:
        if sys.argv[1:2] in (["worker"], ["time"]):  # whose standard error another process reads
            raise
        report_crash(error)


def _keep_objects() -> None:
    """Scan rarely for cyclic garbage, and not at the end: a study's tens of thousands of objects live until then.

    Commands that train keep Python's thresholds, since cycles can hold tensors.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)


def _show(error: click.ClickException) -> None:
    """Print click's message; the shell may have put the name of a file into an argument."""
    text = io.StringIO()
    error.show(text)
    warn(text.getvalue().rstrip("\n"))


def _fail_with(error: NllgenError) -> NoReturn:
    _fail(error.exit_code, lambda: warn(f"error: {error}"))


def _fail(exit_code: int, show: Callable[[], None]) -> NoReturn:
    with contextlib.suppress(BrokenPipeError):  # nobody reads standard error
        show()
    sys.exit(exit_code)


def _prepare_streams() -> None:
    """Open the standard streams that are closed, and replace characters that standard output cannot encode.

    The next file would get the number of a closed stream.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


cli.add_command(notify)


@cli.command(hidden=True)
@click.argument("study_dir", type=PATH)
@click.option("--options", required=True, help="RunOptions as JSON.")
def worker(study_dir: Path, options: str) -> None:
    """Run tasks for a supervisor, which orders them on standard input; stop when that is closed."""
    from nllgen.launch.stop_signal import StopRequest
    from nllgen.storage.provenance import check_code
    from nllgen.storage.study_dir import StudyDir
    from nllgen.study.run_options import RunOptions
    from nllgen.worker.loop import serve
    from nllgen.worker.setup import enter

    run_options = RunOptions.from_json(options)
    check_code(run_options.code_sha256)
    directory, stop = StudyDir(study_dir.absolute()), StopRequest(watch_stdin=True)
    sys.exit(serve(stop.orders(), lambda order: enter(directory, order, run_options, stop)))


@cli.command(hidden=True)
def time() -> None:
    """Time cells for a plan, which orders them on standard input."""
    from nllgen.study.run_options import TimingOrder
    from nllgen.worker.timing import answer

    echo(answer(TimingOrder.from_json(sys.stdin.read())).to_json())
