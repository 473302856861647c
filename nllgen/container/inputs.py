"""Inputs of a build, and the digests by which a build of the same inputs is reused."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nllgen.container.host import debian_mirror, require_programs
from nllgen.container.package import Source
from nllgen.container.sif import hash_range
from nllgen.container.wheels import CUDA_LOCK, LOCK, choice_of_packages, host_pip
from nllgen.errors import ContainerError
from nllgen.study.config import SCHEMA

Base = Literal["docker", "debootstrap", "localimage"]
DOCKER_IMAGE = "python:3.11-slim-bookworm"
RECIPE = "nllgen.def"


@dataclass(frozen=True)
class Request:
    """Options of a build.

    Attributes:
        out: the SIF, or with ``sandbox`` the directory.
        base: kind of system that the container starts from.
        origin: docker: a Docker image; debootstrap: a mirror; localimage: a SIF or a sandbox with Python 3.11.
        wheel: of nllgen, instead of the checkout or the installed distribution.
        binds: for the build alone, as Apptainer's ``--bind`` takes them.
        sign: a PEM file with a private key, or the number of a PGP key in Apptainer's keyring.
        fresh: whether to ignore earlier builds of the same inputs.
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
    """Everything that decides the content of the container.

    ``base`` and ``labels`` are arguments of the recipe for the first and the second step, ``base_key`` is a digest of
    the first step's inputs, ``key`` of all.
    """

    base: dict[str, str]
    labels: dict[str, str]
    base_key: str
    key: str


def gather(request: Request, containers: Path, source: Source) -> Inputs:
    """Compute the digests of the inputs, without building or fetching anything.

    ``containers`` is the directory of the recipe and the locks.

    Raises:
        ContainerError: the base does not exist.
        MachineError: a program is missing.
    """
    base = _base(request)
    lock = hashlib.sha256(b"".join((containers / name).read_bytes() for name in (LOCK, CUDA_LOCK))).hexdigest()
    base_key = _key({
        "recipe": hash_range(containers / RECIPE),
        "locks": lock,
        "machine": platform.machine(),
        "base": base,
        "origin": _digest_of(Path(base["FROM"])) if request.base == "localimage" else "",
        "packages": choice_of_packages(host_pip()),
        "binds": request.binds,
    })  # fmt: skip
    labels = {"VERSION": source.version, "COMMIT": source.commit, "CODE": source.digest}
    labels |= {"LOCK": lock, "SCHEMA": str(SCHEMA)}
    key = _key({"base": base_key, **labels})
    return Inputs(base, {**labels, "INPUTS": key}, base_key, key)


def _base(request: Request) -> dict[str, str]:
    if request.base == "docker":
        return {"BASE": "docker", "FROM": request.origin or DOCKER_IMAGE, "MIRROR": "none"}
    if request.base == "debootstrap":
        require_programs(["debootstrap"])
        return {"BASE": "debootstrap", "FROM": "none", "MIRROR": request.origin or debian_mirror()}
    hint = "nllgen build --base localimage --from SIF, with a container or sandbox that has Python 3.11"
    if not request.origin:
        raise ContainerError("which local container is the base?", hint)
    if not Path(request.origin).exists():
        raise ContainerError(f"the base container {request.origin!r} does not exist", hint)
    return {"BASE": "localimage", "FROM": str(Path(request.origin).absolute()), "MIRROR": "none"}


def _digest_of(origin: Path) -> str:
    """Hash the content of a file, or the names, sizes and times of a sandbox's files."""
    if origin.is_file():
        return hash_range(origin)
    stats = ((path, path.lstat()) for path in sorted(origin.rglob("*")))
    return _key({str(path): [stat.st_size, stat.st_mtime_ns] for path, stat in stats})


def _key(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
