"""Options that several commands share, and what they mean."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nllgen.storage.study_dir import StudyDir

PATH = click.Path(path_type=Path)
IMAGES = click.IntRange(2, 10**6)
GRID = click.option("--grid", "-g", required=True, help="A YAML study, or the name of a built-in one.")
ROOT = click.option(
    "--root", type=click.Path(path_type=Path), help="Where studies lie; default $NLLGEN_ROOT or ./runs."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
STUDY = click.argument("study_dir", type=click.Path(path_type=Path))


def _checked_device(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """Syntax alone, before anything is frozen; whether there is such a device is the machine's to say."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", value):
        raise click.BadParameter(f"{value!r} is not one of auto, cpu, cuda, cuda:N (such as cuda:0)")
    return value


DEVICE = click.option(
    "--device", default="auto", show_default=True, callback=_checked_device, help="auto, cpu, cuda or cuda:N."
)


def folder_at(path: Path) -> StudyDir:
    """A study's folder, its path made absolute."""
    from nllgen.storage.study_dir import StudyDir

    return StudyDir(path.absolute())


def root_of(root: Path | None) -> Path:
    """Where studies lie: what was typed, the environment's, or ./runs."""
    return (root or Path(os.environ.get("NLLGEN_ROOT") or "runs")).absolute()


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def echo(text: str) -> None:
    """A line on standard output."""
    click.echo(text)
