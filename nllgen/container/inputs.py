"""Inputs of a build, and the digests by which a build of the same inputs is reused."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nllgen.container.host import debian_mirror, require_programs
from nllgen.container.package import Source
from nllgen.container.sif import hash_range
from nllgen.container.wheels import CUDA_LOCK, DEBIAN_LOCK, LOCK, choice_of_packages, host_pip
from nllgen.errors import ContainerError
from nllgen.study.config import SCHEMA

Base = Literal["docker", "debootstrap", "localimage"]
DOCKER_IMAGE = "python@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b"  # as in the recipe
RECIPE = "nllgen.def"


@dataclass(frozen=True)
class Request:
    """Options of a build.

    Attributes:
        out: the SIF, or with ``sandbox`` the directory.
        base: kind of system that the container starts from.
        origin: docker: a Docker image by its digest; debootstrap: a mirror; localimage: a SIF or sandbox with Python.
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

    ``base`` and ``labels`` are arguments of the recipe for the first and the second step, ``component`` describes the
    base for the bill of materials, ``base_key`` is a digest of the first step's inputs, ``key`` of all.
    """

    base: dict[str, str]
    component: dict[str, str]
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
    locks = (containers / name for name in (LOCK, CUDA_LOCK, DEBIAN_LOCK))
    lock = hashlib.sha256(b"".join(path.read_bytes() for path in locks)).hexdigest()
    component = _component(request.base, base, containers)
    base_key = _key({
        "recipe": hash_range(containers / RECIPE),
        "locks": lock,
        "machine": platform.machine(),
        "base": base,
        "component": component,
        "packages": choice_of_packages(host_pip()),
        "binds": request.binds,
    })  # fmt: skip
    labels = {"VERSION": source.version, "COMMIT": source.commit, "CODE": source.digest}
    labels |= {"LOCK": lock, "SCHEMA": str(SCHEMA)}
    key = _key({"base": base_key, **labels})
    return Inputs(base, component, {**labels, "INPUTS": key}, base_key, key)


def _base(request: Request) -> dict[str, str]:
    if request.base == "docker":
        origin = request.origin or DOCKER_IMAGE
        if not re.fullmatch(r"[^@\s]+@sha256:[0-9a-f]{64}", origin):
            raise ContainerError(
                f"the Docker image {origin!r} is not named by a digest, and a tag may mean something else tomorrow",
                f"--from NAME@sha256:DIGEST; skopeo inspect --format '{{{{.Digest}}}}' docker://{origin} prints it",
            )
        return {"BASE": "docker", "FROM": origin, "MIRROR": "none"}
    if request.base == "debootstrap":
        require_programs(["debootstrap"])
        return {"BASE": "debootstrap", "FROM": "none", "MIRROR": request.origin or debian_mirror()}
    hint = "nllgen build --base localimage --from SIF, with a container or sandbox that has Python 3.11"
    if not request.origin:
        raise ContainerError("which local container is the base?", hint)
    if not Path(request.origin).exists():
        raise ContainerError(f"the base container {request.origin!r} does not exist", hint)
    return {"BASE": "localimage", "FROM": str(Path(request.origin).absolute()), "MIRROR": "none"}


def _component(kind: Base, base: dict[str, str], containers: Path) -> dict[str, str]:
    """Describe the base by what its content follows from: a digest, a lock, or itself."""
    if kind == "docker":
        name, _, digest = base["FROM"].partition("@sha256:")
        return {"type": "container", "name": name, "sha256": digest}
    if kind == "debootstrap":
        lock = hash_range(containers / DEBIAN_LOCK)
        return {"type": "operating-system", "name": "debian", "version": "12", "sha256": lock}
    origin = Path(base["FROM"])
    return {"type": "container", "name": origin.name, "sha256": _digest_of(origin)}


def _digest_of(origin: Path) -> str:
    """Hash the content of a file, or the names, sizes and times of a sandbox's files."""
    if origin.is_file():
        return hash_range(origin)
    stats = ((path, path.lstat()) for path in sorted(origin.rglob("*")))
    return _key({str(path): [stat.st_size, stat.st_mtime_ns] for path, stat in stats})


def _key(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
