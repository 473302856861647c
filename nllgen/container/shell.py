"""A shell in a container, with the directories that a job has there."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from nllgen.container.exec import Bind, Container, exec_command, require_apptainer
from nllgen.container.verify import verify_container
from nllgen.errors import ConfigError
from nllgen.study.path_kinds import PathKind, path_kind

_PASSED_ON = ("TERM", "LANG", "COLUMNS", "LINES")


def enter_container(
    path: Path, command: Sequence[str], *, assets: Path, study_dir: Path | None, binds: Sequence[str], gpus: bool
) -> NoReturn:
    """Replace this process by a shell, or a command, in a container.

    Args:
        path: a SIF or a sandbox.
        command: to run; a shell where empty.
        assets: directory of fetched assets, bound if it exists.
        study_dir: directory of a study, bound writable.
        binds: further binds ``SRC[:DST]``, writable.

    Raises:
        ConfigError: a bind is not ``SRC[:DST]``.
        ContainerError: the container cannot be used.
    """
    require_apptainer()
    # a sandbox has no SHA-256 and no job runs in it
    is_sandbox = path_kind(path) is PathKind.DIRECTORY
    container = Container(path.absolute(), "", {}) if is_sandbox else verify_container(path)
    mounts = [Bind(study_dir.absolute(), writable=True)] if study_dir else []
    mounts += [Bind(assets)] if assets.exists() else []
    mounts += [_bind(text) for text in binds]
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment["NLLGEN_ASSETS"] = str(assets)
    command = command or ("bash", "--norc")
    words, variables = exec_command(container, command, binds=mounts, environment=environment, gpus=gpus)
    sys.stdout.flush()
    os.execvpe(words[0], words, os.environ | variables)


def _bind(text: str) -> Bind:
    source, *rest = text.split(":")
    if not source or len(rest) > 1:
        raise ConfigError(f"{text!r} is not a bind", "--bind SRC or --bind SRC:DST")
    return Bind(Path(source), rest[0] if rest else "", writable=True)
