"""The locked packages as wheels, fetched with the host's own pip and its settings."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email.parser import HeaderParser
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nllgen.container.sif import hash_range
from nllgen.errors import ContainerError, MachineError

Locked = dict[str, tuple[str, set[str]]]
LOCK, CUDA_LOCK, DEBIAN_LOCK = "requirements.lock", "requirements-cuda.lock", "debian.lock"
_PYTHON = ("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none")
_LEGACY = ("manylinux2014", "manylinux2010", "manylinux1")
_GLIBC = 36  # 2.36 is Debian 12's; pip in the container refuses what an older base cannot run
# settings of pip that decide the source of a package, and so the build of torch
_WHERE = ("index-url", "extra-index-url", "find-links", "no-index")


@cache
def host_pip() -> list[str]:
    """Return the command of pip on this host, or raise a MachineError where there is none."""
    for command in ([sys.executable, "-m", "pip"], ["python3", "-m", "pip"], ["pip"]):
        try:
            if subprocess.run([*command, "--version"], capture_output=True).returncode == 0:
                return command
        except OSError:
            continue
    hint = "python3 -m ensurepip, or install python3-pip"
    raise MachineError("pip is needed to fetch the container's packages", hint)


def choice_of_packages(pip: list[str]) -> dict[str, object]:
    """Return the host's settings that decide which builds pip takes, for the digest of the inputs."""
    listed = subprocess.run([*pip, "config", "list"], capture_output=True, text=True).stdout
    settings: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):  # the environment goes last
        name, _, value = line.partition("=")
        if (key := name.rsplit(".", 1)[-1]) in _WHERE:
            settings[key] = str(ast.literal_eval(value))
    links = settings.get("find-links", "").split()
    local = [Path(unquote(urlsplit(link).path)) for link in links if urlsplit(link).scheme in ("", "file")]
    torch = sorted(path.name for directory in local if directory.is_dir() for path in directory.glob("torch-*.whl"))
    return {**settings, "local torch": torch}


def fetch_wheels(pip: list[str], containers: Path, directory: Path, echo: Callable[[str], None]) -> list[str]:
    """Fetch the wheels of the locks into ``directory/wheels``, and compare their hashes.

    Returns:
        The locks that are needed: the one for CUDA only with a build of torch that asks for it.

    Raises:
        ContainerError: pip cannot fetch them; with its output.
    """
    echo(f"fetching the packages of {LOCK}")
    _download(pip, containers / LOCK, directory / "wheels")
    torch = next((directory / "wheels").glob("torch-*.whl"))
    if not needed_of(torch) & read_lock(containers / CUDA_LOCK).keys():
        return [LOCK]
    echo(f"fetching the packages of {CUDA_LOCK}, 2 GB")
    _download(pip, containers / CUDA_LOCK, directory / "wheels")
    return [LOCK, CUDA_LOCK]


def fetch_setuptools(pip: list[str], lock: Path, directory: Path) -> Path:
    """Fetch and unpack the locked setuptools, which builds nllgen's wheel; return its directory for Python's path.

    Raises:
        ContainerError: pip cannot fetch it.
    """
    _download(pip, lock, directory, only="setuptools")
    with zipfile.ZipFile(next(directory.glob("setuptools-*.whl"))) as archive:
        archive.extractall(directory / "setuptools")
    return directory / "setuptools"


def _download(pip: list[str], lock: Path, directory: Path, only: str = "") -> None:
    # Hashes are compared below instead of by pip: with them pip skips a wheel in a folder of find-links, whose hash no
    # index names, in favour of the index's own build of the same version.
    locked = {name: pinned for name, pinned in read_lock(lock).items() if only in ("", name)}
    directory.mkdir(parents=True, exist_ok=True)
    names = directory.with_name("names.txt")
    names.write_text("".join(f"{name}=={version}\n" for name, (version, _) in locked.items()), encoding="utf-8")
    machine = os.uname().machine
    tags = [*(f"manylinux_2_{minor}" for minor in range(_GLIBC, 4, -1)), *_LEGACY]
    command = [*pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:", *_PYTHON]
    command += [word for tag in tags for word in ("--platform", f"{tag}_{machine}")]
    done = subprocess.run([*command, "-d", str(directory), "-r", str(names)], capture_output=True, text=True)
    names.unlink()
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        raise ContainerError(
            f"pip cannot fetch the packages of {lock.name}:\n    " + "\n    ".join(errors[-12:]),
            "see `pip config list`: the build takes this machine's settings (index, find-links, certificates, proxy)",
        )
    check_hashes(directory, locked)


def check_hashes(directory: Path, locked: Locked) -> None:
    """Compare wheels with a lock; pip in the container does so again.

    Raises:
        ContainerError: a wheel of a locked package has none of its locked hashes.
    """
    for path in sorted(directory.glob("*.whl")):
        name = normalised(path.name.split("-")[0])
        if name in locked and hash_range(path) not in locked[name][1]:
            raise ContainerError(
                f"pip fetched {path.name}, and its hash is not among those that were locked for {name}",
                "let pip find the index's own build; or, where a site has builds of its own, lock them: make lock",
            )


def read_lock(lock: Path) -> Locked:
    """Read a lock: normalised name → version, and SHA-256 of the allowed files."""
    locked: Locked = {}
    name = ""
    for line in lock.read_text("utf-8").splitlines():
        if match := re.match(r"([a-z0-9-]+)==(\S+)", line):
            name = normalised(match[1])
            locked[name] = match[2], set()
        elif match := re.match(r"\s+--hash=sha256:([0-9a-f]{64})", line):
            locked[name][1].add(match[1])
    return locked


def needed_of(wheel: Path) -> set[str]:
    """Read the normalised names of the packages that a wheel requires, without optional extras."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        requires = HeaderParser().parsestr(archive.read(name).decode("utf-8")).get_all("Requires-Dist") or []
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in requires if "extra ==" not in line)
    return {normalised(name[0]) for name in names if name}


def normalised(name: str) -> str:
    """Normalise the name of a package as indices compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
