"""Types of parameters, and the options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup

if TYPE_CHECKING:
    from nllgen.storage.study_dir import StudyDir

PATH = click.Path(path_type=Path)
_ROOT_KEY = "nllgen.root"


def example(*lines: str) -> str:
    """Return the examples that end a command's help."""
    return "\n".join(["\b", f"Example{'s' * (len(lines) > 1)}:", *(f"  {line}" for line in lines)])


def num_cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def _study(ctx: click.Context, _: click.Parameter, value: str | None) -> StudyDir | None:
    """Return the directory of a study that is named by its directory, or by its name under the root."""
    from nllgen.storage.find_study import find_study

    return None if value is None else find_study(value, ctx.meta[_ROOT_KEY])


def _collected(ctx: click.Context, parameter: click.Parameter, value: str) -> Path:
    """Return the study.h5 that is named by its path, or by its study."""
    if value.endswith(".h5") or Path(value).is_file():
        return Path(value)
    study_dir = _study(ctx, parameter, value)
    return study_dir.path / "study.h5" if study_dir else Path(value)


def _root(ctx: click.Context, _: click.Parameter, value: Path | None) -> Path:
    from nllgen.study.user_directories import expand_home

    root = expand_home(value or os.environ.get("NLLGEN_ROOT") or "runs").absolute()
    ctx.meta[_ROOT_KEY] = root
    return root


def _device(_: click.Context, __: click.Parameter, value: str) -> str:
    """Check a device's syntax; a worker checks whether the machine has it."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", value):
        raise click.BadParameter(f"{value!r} is not one of auto, cpu, cuda, cuda:N (such as cuda:0)")
    return value


_ROOT_HELP = "Directory of all studies. [default: $NLLGEN_ROOT, or ./runs]"
ROOT = cloup.option("--root", type=PATH, callback=_root, help=_ROOT_HELP)
STUDY_ROOT = cloup.option("--root", type=PATH, callback=_root, help=_ROOT_HELP, is_eager=True, expose_value=False)
COLLECTED = cloup.argument(
    "study_h5", metavar="STUDY", callback=_collected, help="A study.h5; or a study, by name or directory."
)
STUDY_OPTION = cloup.option(
    "--study", "study_dir", metavar="STUDY", callback=_study, help="Bind a study's directory, writable."
)
_STUDY = cloup.argument("study_dir", metavar="STUDY", callback=_study, help="Name of a study, or its directory.")
GRID = cloup.option("--grid", "-g", required=True, help="A study: a YAML file, or the name of a built-in one.")
JSON = cloup.option("--json", "as_json", is_flag=True, help="Print JSON.")
DEVICE = cloup.option(
    "--device", default="auto", show_default=True, callback=_device, help="One of auto, cpu, cuda and cuda:N."
)
TRUST = cloup.option(
    "--trust", is_flag=True, help="Accept, once, what a study would run that you did not submit on this site."
)
NUM_THREADS = cloup.option("--threads", type=click.IntRange(1, 1024), help="Threads of torch. [default: one per core]")


def study_argument(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument STUDY, and the option --root, under which a study's name is looked up."""
    return _STUDY(STUDY_ROOT(command))
