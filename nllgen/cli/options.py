"""Types of parameters, and the options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup

from nllgen.cli.completion import (
    GRID_KEY,
    ROOT_KEY,
    STUDY_KEY,
    complete_devices,
    complete_directories,
    complete_grids,
    complete_studies,
)

if TYPE_CHECKING:
    from nllgen.storage.study_dir import StudyDir


class PlainPath(click.Path):
    """A path without ``..``, so that whatever is printed of it can be read."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path; one with ``..`` becomes absolute."""
        return Path(_plain(str(super().convert(value, param, ctx))))


PATH = PlainPath()


def _plain(path: str) -> str:
    from nllgen.study.user_directories import plain_path

    return str(plain_path(path)) if ".." in Path(path).parts else path


def example(*lines: str) -> str:
    """Return the examples that end a command's help."""
    return "\n".join(["\b", f"Example{'s' * (len(lines) > 1)}:", *(f"  {line}" for line in lines)])


def _study(ctx: click.Context, _: click.Parameter, value: str | None) -> StudyDir | None:
    """Return the directory of a study that is named by its directory, or by its name under the root."""
    ctx.meta[STUDY_KEY] = value
    if value is None or ctx.resilient_parsing:  # for a completion the name will do
        return None
    from nllgen.storage.find_study import find_study

    return find_study(value, ctx.meta[ROOT_KEY])


def _collected(ctx: click.Context, parameter: click.Parameter, value: str) -> StudyDir | Path:
    """Return the study that is named, or the file: a study.h5 that is not there stands for its study."""
    if ctx.resilient_parsing:
        return Path(value)
    from nllgen.storage.find_study import find_collected

    return find_collected(_plain(value), ctx.meta[ROOT_KEY])


def _truth(ctx: click.Context, _: click.Parameter, value: Path) -> Path:
    """Return the path of a truth, or the directory of the study of that name under the root."""
    if ctx.resilient_parsing:
        return value
    from nllgen.study.path_kinds import is_study

    named = ctx.meta[ROOT_KEY] / value.name
    return named if value.name == str(value) and not value.exists() and is_study(named) else value


def find_results(ctx: click.Context, parameter: click.Parameter, value: str) -> Path:
    """Return a study.h5 that is named by its path, or the directory of a study, with what is there now."""
    if value.endswith(".h5") or Path(value).is_file():
        return Path(value)
    study_dir = _study(ctx, parameter, value)
    return study_dir.path if study_dir else Path(value)


def _root(ctx: click.Context, _: click.Parameter, value: Path | None) -> Path:
    from nllgen.study.path_kinds import require_root
    from nllgen.study.user_directories import expand_home, plain_path

    root = plain_path(expand_home(value or os.environ.get("NLLGEN_ROOT") or "runs"))
    if value is not None:  # the default may be a study of that name, which no command here is about
        require_root(root)
    ctx.meta[ROOT_KEY] = root
    return root


def _keep_grid(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    ctx.meta[GRID_KEY] = value


def _grid(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str:
    """Return the grid, which is given as the argument or as the option."""
    option = ctx.meta.get(GRID_KEY)
    if ctx.resilient_parsing:
        ctx.meta[GRID_KEY] = option or value
        return value or ""
    if value is None and option is None:
        raise click.MissingParameter(ctx=ctx, param=parameter)
    if value is not None and option is not None:
        raise click.UsageError(f"the grid is named twice, {value} and --grid {option}; leave out one", ctx)
    from nllgen.storage.find_study import require_no_study

    grid = _plain(value if value is not None else str(option))
    require_no_study(grid, ctx.meta[ROOT_KEY])
    return grid


def _notify(_: click.Context, __: click.Parameter, value: str | None) -> str:
    """Return the command; empty without one."""
    if value is None:
        return ""
    from nllgen.launch.notification import check_command

    return check_command(value)


def _device(_: click.Context, __: click.Parameter, value: str) -> str:
    """Check a device's syntax; a worker checks whether the machine has it."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", value):
        raise click.BadParameter(f"{value!r} is not one of auto, cpu, cuda, cuda:N (such as cuda:0)")
    return value


_root_option = partial(
    cloup.option, "--root", type=PATH, callback=_root, is_eager=True, shell_complete=complete_directories,
    help="Directory of all studies. [default: $NLLGEN_ROOT, or ./runs]",
)  # fmt: skip
ROOT, STUDY_ROOT = _root_option(), _root_option(expose_value=False)
COLLECTED = cloup.argument(
    "study",
    metavar="STUDY",
    callback=_collected,
    help="Name of a study, its directory, or a study.h5.",
    shell_complete=complete_studies,
)
RESULTS = cloup.argument(
    "study_path",
    metavar="STUDY",
    callback=find_results,
    help="A study.h5; or a study, by name or directory.",
    shell_complete=complete_studies,
)
STUDY_OPTION = cloup.option(
    "--study",
    "study_dir",
    metavar="STUDY",
    callback=_study,
    help="Bind a study's directory, writable.",
    shell_complete=complete_studies,
)
_STUDY = cloup.argument(
    "study_dir", metavar="STUDY", callback=_study, help="Name of a study, or its directory.",
    shell_complete=complete_studies,
)  # fmt: skip
_GRID = cloup.argument(
    "grid",
    metavar="GRID",
    required=False,
    callback=_grid,
    help="A study: a YAML file, or the name of a built-in one.",
    shell_complete=complete_grids,
)
_GRID_OPTION = cloup.option(
    "--grid", "-g", "grid_option", metavar="GRID", callback=_keep_grid, is_eager=True, expose_value=False,
    help="The same as the argument.", shell_complete=complete_grids,
)  # fmt: skip
SET = cloup.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Set a key of the study, dotted as in the YAML: paradigm.steps=100, or cells.0.seed=[0,1]. Repeatable.",
)  # fmt: skip
_TRUTH_HELP = "A truth.pt, its directory, or a study that has a truth, by name or directory."
TRUTH_ARGUMENT = cloup.argument(
    "truth", metavar="TRUTH", type=PATH, callback=_truth, help=_TRUTH_HELP, shell_complete=complete_studies
)
TRUTH_OPTION = cloup.option(
    "--truth", type=PATH, required=True, callback=_truth, help=_TRUTH_HELP, shell_complete=complete_studies
)
JSON = cloup.option("--json", "as_json", is_flag=True, help="Print JSON.")
DEVICE = cloup.option(
    "--device",
    metavar="DEVICE",
    default="auto",
    show_default=True,
    callback=_device,
    help="One of auto, cpu, cuda and cuda:N.",
    shell_complete=complete_devices,
)
TRUST = cloup.option(
    "--trust", is_flag=True, help="Accept what this study would run, if you did not submit it on this site; once."
)
NOTIFY = cloup.option(
    "--notify",
    metavar="COMMAND",
    callback=_notify,
    help="Run this shell command once, when all has ended; $NLLGEN_MESSAGE and other variables tell how.",
)
NUM_THREADS = cloup.option(
    "--threads", metavar="N", type=click.IntRange(1, 1024), help="Threads of torch. [default: one per core]"
)


def grid_argument(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument GRID, which may be written as the option --grid, and the option --root."""
    return _GRID(_GRID_OPTION(ROOT(command)))


def study_argument(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument STUDY, and the option --root, under which a study's name is looked up."""
    return _STUDY(STUDY_ROOT(command))
