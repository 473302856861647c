"""`nllgen build`: from the host's settings, the locks and this nllgen to a SIF, in two steps that are cached each."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nllgen.container import apptainer
from nllgen.container.exec import Container, require_apptainer
from nllgen.container.host import debian_mirror, require_programs, temporary_parent
from nllgen.container.package import Source, find_source
from nllgen.container.sif import hash_range
from nllgen.container.verify import cache_folder, verify_container
from nllgen.container.wheels import CUDA_LOCK, LOCK, choice_of_packages, fetch_wheels, host_pip
from nllgen.errors import ContainerError
from nllgen.storage.atomic import make_folder, part_file, replace
from nllgen.study.builtin import builtin_folder
from nllgen.study.config import SCHEMA

Base = Literal["docker", "debootstrap", "localimage"]
Say = Callable[[str], None]
DOCKER_IMAGE = "python:3.11-slim-bookworm"
RECIPE = "nllgen.def"
_HINTS: dict[Base, str] = {
    "docker": "no way to a registry from here? Debian's mirror will do: --base debootstrap; or a container of the site: "
    "--base localimage --from SIF",
    "debootstrap": "another mirror: --from URL; or a container with Python 3.11: --base localimage --from SIF",
    "localimage": "the lines above are the end of its output; the base needs Python 3.11 and a shell",
}
_KEPT = {"container": 4, "base": 2}  # how many of each the cache folder holds, the newest


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        out: the SIF, or with ``sandbox`` the folder.
        base: what the container starts from.
        origin: docker: a container name; debootstrap: a mirror; localimage: a SIF or a sandbox with Python 3.11.
        wheel: of nllgen, instead of the checkout or the installed distribution.
        binds: for the build alone, as Apptainer's ``--bind`` takes them.
        sandbox: a folder to look around in instead of a SIF.
        sign: a PEM file with a private key, or the number of a PGP key in Apptainer's keyring.
        fresh: build anew what was built before.
    """

    out: Path
    base: Base = "docker"
    origin: str = ""
    wheel: Path | None = None
    binds: tuple[str, ...] = ()
    sandbox: bool = False
    sign: str = ""
    fresh: bool = False


@dataclass(frozen=True)
class Inputs:
    """All that decides what is in the container.

    Attributes:
        base: arguments of the recipe for the first step.
        labels: arguments of the recipe for the second.
        base_key: digest of the first step's inputs.
        key: digest of all inputs.
    """

    base: dict[str, str]
    labels: dict[str, str]
    base_key: str
    key: str


def build(request: Request, echo: Say) -> Container | None:
    """Build, or take from the cache folder what the same inputs gave before.

    Args:
        request: what.
        say: gets a line at each step.

    Returns:
        The container; None for a sandbox.

    Raises:
        ContainerError: something that goes in is missing, or a step failed; with the end of what it said.
        MachineError: Apptainer or pip is missing, or the disk is full.
    """
    require_apptainer()
    containers = builtin_folder("containers")
    if containers is None:
        raise ContainerError(
            "this nllgen came without its container recipe", "install it again, from a wheel or a checkout"
        )
    if request.out.is_dir() or (request.sandbox and request.out.exists()):
        raise ContainerError(f"{request.out} is there already", "remove it, or choose another name with -o")
    source = find_source(request.wheel)
    inputs = gather(request, containers, source)
    if request.sandbox:
        _sandbox(request, inputs, containers, source, echo)
        return None
    with _locked(echo):
        built = _cached("container", inputs.key)
        if built.exists() and not request.fresh:
            os.utime(built)
            echo(f"the same inputs were built before ({inputs.key[:12]}): taken from {built.parent}")
        else:
            _second_step(inputs, built, containers, source, request, echo)
        _deliver(built, request, echo)
        _prune()
    return verify_container(request.out)


def gather(request: Request, containers: Path, source: Source) -> Inputs:
    """Digests of what goes in. Nothing is built or fetched."""
    base = _base(request)
    locks = b"".join((containers / name).read_bytes() for name in (LOCK, CUDA_LOCK))
    recipe = (containers / RECIPE).read_bytes()
    first = {
        "recipe": hashlib.sha256(recipe).hexdigest(),
        "locks": hashlib.sha256(locks).hexdigest(),
        "machine": platform.machine(),
        "base": base,
        "origin": _digest_of(Path(base["FROM"])) if request.base == "localimage" else "",
        "packages": choice_of_packages(host_pip()),
        "binds": request.binds,
    }
    base_key = _key(first)
    labels = {
        "VERSION": source.version,
        "COMMIT": source.commit,
        "CODE": source.digest,
        "LOCK": hashlib.sha256(locks).hexdigest(),
        "SCHEMA": str(SCHEMA),
    }
    key = _key({"base": base_key, **labels})
    return Inputs(base, {**labels, "INPUTS": key}, base_key, key)


def _base(request: Request) -> dict[str, str]:
    """Arguments of the recipe that say where it starts."""
    if request.base == "docker":
        return {"BASE": "docker", "FROM": request.origin or DOCKER_IMAGE, "MIRROR": "none"}
    if request.base == "debootstrap":
        require_programs(["debootstrap"])
        return {"BASE": "debootstrap", "FROM": "none", "MIRROR": request.origin or debian_mirror()}
    if not request.origin or not Path(request.origin).exists():
        raise ContainerError(
            f"the base container {request.origin!r} does not exist"
            if request.origin
            else "which local container is the base?",
            "nllgen build --base localimage --from SIF, with a container or sandbox that has Python 3.11",
        )
    return {"BASE": "localimage", "FROM": str(Path(request.origin).absolute()), "MIRROR": "none"}


def _digest_of(origin: Path) -> str:
    """Of a file its content, of a sandbox the names, sizes and times of its files."""
    if origin.is_file():
        return hash_range(origin)
    stats = ((path, path.lstat()) for path in sorted(origin.rglob("*")))
    return _key({str(path): [stat.st_size, stat.st_mtime_ns] for path, stat in stats})


def _key(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _cached(kind: str, key: str) -> Path:
    return make_folder(cache_folder() / "containers") / f"{kind}-{key[:32]}.sif"


@contextlib.contextmanager
def _locked(echo: Say) -> Iterator[None]:
    """One build at a time: the second of the same inputs finds what the first built. Without locks, both build."""
    with (make_folder(cache_folder() / "containers") / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            echo("waiting for another build")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass
        yield


@contextlib.contextmanager
def _work_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(
        prefix="nllgen-build-", dir=temporary_parent(), ignore_cleanup_errors=True
    ) as name:
        yield Path(name)


def _first_step(inputs: Inputs, containers: Path, request: Request, echo: Say) -> Path:
    """Python and the locked packages; from the cache where they were built before."""
    base = _cached("base", inputs.base_key)
    if base.exists() and not request.fresh:
        os.utime(base)
        echo(f"Python and the packages were built before ({inputs.base_key[:12]})")
        return base
    with _work_folder() as work, part_file(base) as part:
        bound = make_folder(work / "bound")
        for lock in fetch_wheels(host_pip(), containers, bound, echo):
            shutil.copy(containers / lock, bound)
        echo(f"building Python and the packages, first of all the base by {request.base}: a minute or more")
        arguments, hint = inputs.base, _HINTS[request.base]
        apptainer.build(
            containers / RECIPE, part, arguments, bound, work, echo, binds=request.binds, test=False, hint=hint
        )
        replace(part, base)
    return base


def _second_step(
    inputs: Inputs,
    target: Path,
    containers: Path,
    source: Source,
    request: Request,
    echo: Say,
    *,
    sandbox: bool = False,
) -> None:
    """nllgen itself, and the recipe's test."""
    base = _first_step(inputs, containers, request, echo)
    with _work_folder() as work, part_file(target) as part:
        bound = make_folder(work / "bound")
        echo(f"adding nllgen {source.version} ({source.kind}, commit {source.commit[:12]})")
        source.write(bound)
        arguments = {"BASE": "localimage", "FROM": base.name, "MIRROR": "none", **inputs.labels}
        apptainer.build(
            containers / RECIPE,
            part,
            arguments,
            bound,
            work,
            echo,
            folder=base.parent,
            binds=request.binds,
            sandbox=sandbox,
        )
        if sandbox:
            part.rename(target)
        else:
            replace(part, target)


def _sandbox(request: Request, inputs: Inputs, containers: Path, source: Source, echo: Say) -> None:
    out = request.out.absolute()
    make_folder(out.parent)
    _second_step(inputs, out, containers, source, request, echo, sandbox=True)


def _deliver(built: Path, request: Request, echo: Say) -> None:
    """A copy under the name that was asked for: signing or editing it does not reach the cache."""
    out = request.out.absolute()
    make_folder(out.parent)
    with part_file(out, uuid.uuid4().hex) as part:
        shutil.copyfile(built, part)
        part.chmod(0o755)
        if request.sign:
            echo("signing")
            apptainer.sign(part, request.sign)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        replace(part, out)


def _prune() -> None:
    for kind, kept in _KEPT.items():
        found = sorted((cache_folder() / "containers").glob(f"{kind}-*.sif"), key=lambda path: path.stat().st_mtime)
        for path in found[:-kept]:
            path.unlink(missing_ok=True)
