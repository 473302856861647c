"""Command lines that start a program in the container."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nllgen.errors import ContainerError, MachineError

PREFIX = "/opt/nllgen"  # where containers/nllgen.def installs
# a bind may lie below these, but not hide them: the container could not start
_OWN = (
    *("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr/bin", "/usr/lib", "/usr/local"),
    PREFIX,
)
_GPUS = "CUDA_VISIBLE_DEVICES"  # --nv alone shows every GPU, those of other jobs too


@dataclass(frozen=True)
class Container:
    """A verified SIF.

    Attributes:
        path: absolute.
        sha256: of the whole file, signatures included.
        labels: written by its build; see containers/nllgen.def.
    """

    path: Path
    sha256: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Bind:
    """A file or directory of the host that is shown in the container.

    ``target`` is its absolute path there; empty for the same path as on the host.
    """

    source: Path
    target: str = ""
    writable: bool = False

    @property
    def inside(self) -> str:
        """Return the normalised path in the container."""
        return os.path.normpath(self.target or self.source.absolute())


def require_apptainer() -> str:
    """Return the path of the program, or raise a MachineError where Apptainer is not installed."""
    program = shutil.which("apptainer")
    if program is None:
        raise MachineError(
            "Apptainer is not installed here (no `apptainer` in PATH)",
            "load the site's module or ask for it; on Debian 12, `make apptainer` in a checkout installs it",
        )
    return program


def container_python() -> list[str]:
    """Return the command that starts nllgen inside, isolated from the user's variables and packages."""
    return [f"{PREFIX}/bin/python", "-I", "-m", "nllgen"]


def exec_command(
    container: Container,
    command: Sequence[str],
    *,
    binds: Sequence[Bind],
    environment: Mapping[str, str],
    gpus: bool = False,
    network: bool = True,
) -> tuple[list[str], dict[str, str]]:
    """Return the command line that runs ``command`` in the container, and the variables to add to its environment.

    The container sees the binds of the host's files, and the variables of ``environment`` (with ``gpus``
    CUDA_VISIBLE_DEVICES as well). The working directory is ``/``, the exit code is the command's own, and standard
    input is passed on. ``/tmp`` is in memory, 64 MB for a plain user: bind a scratch directory there if that is too
    small. With ``gpus`` the GPUs are shown.

    Raises:
        ContainerError: a bind does not exist, has a name that Apptainer cannot parse, or would hide the container.
    """
    words = ["apptainer", "--silent", "exec", "--contain", "--cleanenv", "--no-eval", "--no-home", "--pwd", "/"]
    for bind in sorted(binds, key=lambda bind: len(PurePosixPath(bind.inside).parts)):  # a directory before its content
        words += ["--bind", _bind_text(bind)]
    if gpus:
        words.append("--nv")
    if not network:
        words += ["--net", "--network", "none"]
    inside = {"PYTHONNOUSERSITE": "1", **environment}
    if gpus and _GPUS in os.environ:
        inside.setdefault(_GPUS, os.environ[_GPUS])
    variables = {f"APPTAINERENV_{name}": value for name, value in inside.items()}
    return [*words, str(container.path), *command], variables


def _bind_text(bind: Bind) -> str:
    source, target = str(bind.source.absolute()), bind.inside
    for path in (source, target):
        bad = [name for name, mark in (("a colon", ":"), ("a comma", ","), ("a line break", "\n")) if mark in path]
        if bad:
            reason = f"{path!r} cannot be bound: there is {' and '.join(bad)} in its name"
            raise ContainerError(reason, "choose a folder without : and , in its path")
    if not target.startswith("/"):
        raise ContainerError(f"the path of {source} in the container is {target!r}", "give an absolute path")
    if any(PurePosixPath(own).is_relative_to(target) for own in _OWN):
        raise ContainerError(
            f"{source} at {target} in the container would hide the container's own files",
            "bind it to a folder below, or elsewhere",
        )
    if not bind.source.exists():
        raise ContainerError(f"{source} cannot be bound: it does not exist here", "create it, or name another")
    return f"{source}:{target}:{'rw' if bind.writable else 'ro'}"
