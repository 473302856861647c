"""How a program is started inside the container: the words of the command line and the variables that go along."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nllgen.errors import ContainerError, MachineError

PREFIX = "/opt/nllgen"  # where containers/nllgen.def installs
# what a bind may lie in, but not over: the container could not start
_OWN = (
    "/bin",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    PREFIX,
)
_GPUS = "CUDA_VISIBLE_DEVICES"  # --nv alone shows every GPU, those of other jobs too


@dataclass(frozen=True)
class Container:
    """A SIF that was found to be whole and right.

    Attributes:
        path: absolute.
        sha256: of the whole file, signatures included.
        labels: what its build said of it; see containers/nllgen.def.
    """

    path: Path
    sha256: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Bind:
    """A file or folder of the host inside the container.

    Attributes:
        source: on the host.
        target: absolute, inside; the same path where it is empty.
        writable: whether the container may write there.
    """

    source: Path
    target: str = ""
    writable: bool = False

    @property
    def inside(self) -> str:
        """The path inside, without ``..`` and the like."""
        return os.path.normpath(self.target or self.source.absolute())


def require_apptainer() -> str:
    """The program.

    Raises:
        MachineError: Apptainer is not installed.
    """
    found = shutil.which("apptainer")
    if found is None:
        raise MachineError(
            "Apptainer is not installed here (no `apptainer` in PATH)",
            "load the site's module or ask for it; on Debian 12, `make apptainer` in a checkout installs it",
        )
    return found


def container_python() -> list[str]:
    """How nllgen is started inside. Isolated: no variable or folder of the user's puts other modules before its own."""
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
    """The command line that runs ``command`` in the container, and the variables to add to the environment it is run with.

    Contained: of the host's files there are the binds alone, and of its variables those in ``environment`` (with
    ``gpus`` CUDA_VISIBLE_DEVICES as well). The working directory is ``/``, the exit code the command's own, standard
    input is passed on. ``/tmp`` is in memory, 64 MB for a plain user: bind a scratch folder there if that is too small.

    Raises:
        ContainerError: a bind that does not exist, whose name Apptainer cannot be told, or that would hide the container.
    """
    words = ["apptainer", "--silent", "exec", "--contain", "--cleanenv", "--no-eval", "--no-home", "--pwd", "/"]
    for bind in sorted(binds, key=lambda bind: len(PurePosixPath(bind.inside).parts)):  # a folder before what is in it
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
            raise ContainerError(
                f"{path!r} cannot be shown to a container: there is {' and '.join(bad)} in its name",
                "choose a folder without : and , in its path",
            )
    if not target.startswith("/"):
        raise ContainerError(f"the place of {source} in the container is {target!r}", "give an absolute path")
    if any(PurePosixPath(own).is_relative_to(target) for own in _OWN):
        raise ContainerError(
            f"{source} at {target} in the container would hide the container's own files",
            "use a folder further down, or one elsewhere",
        )
    if not bind.source.exists():
        raise ContainerError(
            f"{source} is to be shown to the container and does not exist here", "create it, or name another"
        )
    return f"{source}:{target}:{'rw' if bind.writable else 'ro'}"
