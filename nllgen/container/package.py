"""The nllgen that is installed into the container, from a checkout, a wheel or the installed distribution."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePath

from nllgen import __version__
from nllgen.container.host import ONE_TIME
from nllgen.container.wheels import LOCK, fetch_setuptools, host_pip
from nllgen.errors import ContainerError

_PACKAGE = Path(__file__).resolve().parents[1]
# files that setup.py puts into a wheel
_SHIPPED = ("nllgen", "analysis/nllgen_analysis", "jobs", "slurm/profiles", "containers", "setup.py", "pyproject.toml")
# setuptools alone, without pip, which would resolve the build's requirements: it finds them locked on its path
_BUILD = """
import sys
sys.path.insert(0, sys.argv[1])
from setuptools import build_meta
build_meta.build_wheel(sys.argv[2])
"""
_LOCAL = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"}  # of one installation, not of the distribution


@dataclass(frozen=True)
class Source:
    """A nllgen to be installed.

    Attributes:
        kind: ``checkout``, ``wheel`` or ``installed``.
        commit: of the last change to what ships, with ``-dirty`` where files differ from it; ``unknown`` without git.
        digest: SHA-256 over names and content of its files.
        write: writes a wheel of it into a directory and returns its path.
    """

    kind: str
    version: str
    commit: str
    digest: str
    write: Callable[[Path], Path]


def find_source(wheel: Path | None) -> Source:
    """Find the nllgen to install: the wheel, else the checkout that this code runs from, else what is installed.

    Raises:
        ContainerError: the wheel is not nllgen's, or nllgen is neither installed nor in a checkout.
    """
    if wheel is not None:
        return _wheel(wheel)
    checkout = _PACKAGE.parent
    if (checkout / "setup.py").is_file() and (checkout / "pyproject.toml").is_file():
        return _checkout(checkout)
    try:
        return _installed(distribution("nllgen"))
    except PackageNotFoundError:
        raise ContainerError("nllgen is neither installed nor run from a checkout", "give a wheel: --wheel W") from None


def _wheel(wheel: Path) -> Source:
    parts = wheel.name.removesuffix(".whl").split("-")
    if not wheel.is_file() or not zipfile.is_zipfile(wheel) or parts[0] != "nllgen" or len(parts) < 5:
        raise ContainerError(f"{wheel} is not a wheel of nllgen", "pip wheel --no-deps -w DIR CHECKOUT makes one")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Source("wheel", parts[1], "unknown", digest, lambda directory: Path(shutil.copy(wheel, directory)))


def _checkout(root: Path) -> Source:
    files = [(str(path.relative_to(root)), path) for path in _files(root / name for name in _SHIPPED)]
    digest = _digest(files)

    def write(directory: Path) -> Path:
        copy, backend = directory / "source", directory / "backend"  # a build leaves files behind
        for name, path in files:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy / name)
            (copy / name).chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        if _digest((name, copy / name) for name, _ in files) != digest:
            raise ContainerError(f"files of {root} changed while they were packed", "run the same command again")
        path = fetch_setuptools(host_pip(), root / "containers" / LOCK, backend)
        command = [sys.executable, "-I", "-c", _BUILD, str(path), str(directory)]
        done = subprocess.run(command, cwd=copy, env=os.environ | ONE_TIME, umask=0o022, capture_output=True, text=True)
        if done.returncode != 0:
            reason = f"setuptools could not build nllgen's wheel:\n{done.stderr[-2000:]}"
            raise ContainerError(reason, "or give one: --wheel W")
        shutil.rmtree(copy)
        shutil.rmtree(backend)
        return next(directory.glob("nllgen-*.whl"))

    return Source("checkout", __version__, _commit(root), digest, write)


def _files(roots: Iterable[Path]) -> list[Path]:
    paths = (path for root in roots for path in ([root] if root.is_file() else root.rglob("*")))
    return sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts)


def _digest(files: Iterable[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, path in files:
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _commit(root: Path) -> str:
    def git(*words: str) -> str | None:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            return subprocess.check_output(
                ["git", "-C", str(root), *words], stderr=subprocess.DEVNULL, text=True
            ).strip()
        return None

    if git("ls-files", "--error-unmatch", "setup.py") is None:  # not of a repository around the checkout
        return "unknown"
    commit = git("log", "-1", "--format=%H", "--", *_SHIPPED) or "unknown"
    return f"{commit}-dirty" if git("status", "--porcelain", "--", *_SHIPPED) else commit


def _installed(package: Distribution) -> Source:
    def is_ours(name: PurePath) -> bool:
        return not (name.parts[0] == ".." or name.name in _LOCAL or "__pycache__" in name.parts)

    names = sorted(str(name) for name in package.files or () if is_ours(name))
    files = [(name, Path(str(package.locate_file(name)))) for name in names]
    missing = [name for name, path in files if not path.is_file()]
    if missing or not files:
        raise ContainerError(
            f"the installed nllgen is not whole: {', '.join(missing[:3]) or 'its list of files'} is missing",
            "install it again, or give a wheel: --wheel W",
        )
    write = partial(_repack, package, files)
    return Source("installed", package.version, "unknown", _digest(files), write)


def _repack(package: Distribution, files: list[tuple[str, Path]], directory: Path) -> Path:
    """Pack installed files as a wheel, with a RECORD of them (binary distribution format, PyPA specifications)."""
    path = directory / f"nllgen-{package.version}-py3-none-any.whl"
    info = next(name.split("/")[0] for name, _ in files if name.split("/")[0].endswith(".dist-info"))
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files:
            content = file.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.writerow((name, f"sha256={digest}", len(content)))
            archive.writestr(zipfile.ZipInfo(name), content)
        rows.writerow((f"{info}/RECORD", "", ""))
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), record.getvalue())
    return path
