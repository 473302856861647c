"""The commands of the container: `nllgen build` and `nllgen shell`. Imported when one is opened."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from nllgen.assets import asset_folder
from nllgen.container import Bind, Container, exec_command, verify_container
from nllgen.container.build import Request, build
from nllgen.container.check import check
from nllgen.container.exec import require_apptainer
from nllgen.errors import ConfigError

__all__ = ["Request", "build_container", "check_container", "enter_container"]


def build_container(request: Request) -> None:
    """Build, telling each step with the seconds since the beginning, and what to type next."""
    started = time.monotonic()

    def echo(text: str) -> None:
        click.echo(f"[{time.monotonic() - started:5.0f} s] {text}")

    container = build(request, echo)
    if container is None:
        echo(f"built the sandbox {request.out}")
        click.echo(f"next: nllgen shell --container {request.out}")
        return
    echo(f"{container.path}: {container.path.stat().st_size / 1e6:.0f} MB, sha256 {container.sha256}")
    click.echo(f"next: nllgen build --check {request.out}")


def check_container(path: Path, public_key: Path | None) -> None:
    """Say of a container what is right, until something is not."""
    check(path, public_key, click.echo)
    click.echo(f"{path} can be used")


def enter_container(
    path: Path, study_dir: Path | None, command: tuple[str, ...], binds: tuple[str, ...], gpus: bool
) -> None:
    """Become a shell, or a command, in the container, with what a job sees there: the study, writable, and the assets.

    Raises:
        ConfigError: a bind is not ``SRC[:DST]``.
        ContainerError: the container cannot be used.
    """
    require_apptainer()
    # a sandbox has no sha256 and trains nothing, but is there to be looked into
    container = Container(path.absolute(), "", {}) if path.is_dir() else verify_container(path)
    shown = [Bind(study_dir.absolute(), writable=True)] if study_dir else []
    shown += [Bind(asset_folder())] if asset_folder().exists() else []
    shown += [_bind(text) for text in binds]
    names = ("TERM", "LANG", "COLUMNS", "LINES")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    environment["NLLGEN_ASSETS"] = str(asset_folder())
    words, variables = exec_command(
        container, command or ("bash", "--norc"), binds=shown, environment=environment, gpus=gpus
    )
    sys.stdout.flush()
    os.execvpe(words[0], words, os.environ | variables)


def _bind(text: str) -> Bind:
    source, *rest = text.split(":")
    if not source or len(rest) > 1:
        raise ConfigError(f"{text!r} is not a bind", "--bind SRC or --bind SRC:DST")
    return Bind(Path(source), rest[0] if rest else "", writable=True)
