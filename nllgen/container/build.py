"""`nllgen build`: a SIF from the locked packages and this nllgen, in two steps that are cached each."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from nllgen.container import apptainer
from nllgen.container.exec import Container, require_apptainer
from nllgen.container.host import temporary_parent
from nllgen.container.inputs import RECIPE, Base, Inputs, Request, gather
from nllgen.container.package import Source, find_source
from nllgen.container.stage_times import timed_stage
from nllgen.container.verify import bill_path, cache_folder, read_bill, verify_container
from nllgen.container.wheels import DEBIAN_LOCK, fetch_wheels, host_pip
from nllgen.errors import ContainerError
from nllgen.storage.atomic import NO_LOCKS, make_folder, part_file, raise_os_error, replace, write_bytes
from nllgen.study.builtin import builtin_folder

__all__ = ["Request", "build"]

Echo = Callable[[str], None]
Progress = Callable[[int, int], None]
_HINTS: dict[Base, str] = {
    "docker": "no registry can be reached from here? Debian's mirror will do: --base debootstrap; or a container of "
    "the site: --base localimage --from SIF",
    "debootstrap": "another mirror: --from URL; a newer debian.lock: `make lock` in a checkout; or a container with "
    "Python 3.11: --base localimage --from SIF",
    "localimage": "the lines above are the end of its output; the base needs Python 3.11 and a shell",
}
_KEPT = {"container": 4, "base": 2}  # number of each that stays in the cache, the newest


def build(request: Request, echo: Echo, progress: Progress | None = None) -> Container | None:
    """Build a container, or copy it from the cache where the same inputs were built before; return None for a sandbox.

    ``echo`` prints a line at each step; ``progress`` is told how many seconds of how many a stage has taken.

    Raises:
        ContainerError: an input is missing, or a step failed; with the end of its output.
        MachineError: Apptainer or pip is missing, or the disk is full.
    """
    require_apptainer()
    containers = builtin_folder("containers")
    if containers is None:
        hint = "install it again, from a wheel or a checkout"
        raise ContainerError("this nllgen came without its container recipe", hint)
    if request.out.is_dir() or (request.sandbox and request.out.exists()):
        raise ContainerError(f"{request.out} exists", "choose another name with -o")
    source = find_source(request.wheel)
    job = _Build(request, gather(request, containers, source), containers, source, echo, progress)
    if request.sandbox:
        out = request.out.absolute()
        make_folder(out.parent)
        job.add_nllgen(out)
        return None
    with _locked(echo):
        _deliver(job.cached(), request, echo)
        _prune()
    container = verify_container(request.out)
    write_bytes(bill_path(container.path), read_bill(container))
    return container


@dataclass(frozen=True)
class _Build:
    request: Request
    inputs: Inputs
    containers: Path
    source: Source
    echo: Echo
    progress: Progress | None = None

    def cached(self) -> Path:
        """Return the container in the cache, built where it is missing."""
        target = _cache_path("container", self.inputs.key)
        if target.exists() and not self.request.fresh:
            os.utime(target)
            self.echo(f"the same inputs were built before ({self.inputs.key[:12]}): taken from {target.parent}")
        else:
            self.add_nllgen(target)
        return target

    def add_nllgen(self, target: Path) -> None:
        """Run the second step: nllgen itself, and the recipe's test."""
        base = self._cached_base()
        with self._timed("nllgen"), _work_directory() as (work, bound), part_file(target) as part:
            self.echo(f"adding nllgen {self.source.version} ({self.source.kind}, commit {self.source.commit[:12]})")
            self.source.write(bound)
            (bound / "base.json").write_text(json.dumps(self.inputs.component), encoding="utf-8")
            arguments = {"BASE": "localimage", "FROM": base.name, "MIRROR": "none", **self.inputs.labels}
            apptainer.build(
                self.containers / RECIPE, part, arguments, bound, work, self.echo,
                directory=base.parent, binds=self.request.binds, sandbox=self.request.sandbox,
            )  # fmt: skip
            if self.request.sandbox:
                part.rename(target)
            else:
                replace(part, target)

    def _timed(self, stage: str) -> AbstractContextManager[None]:
        return timed_stage(stage, make_folder(cache_folder() / "containers"), self.progress)

    def _cached_base(self) -> Path:
        """Run the first step, Python and the locked packages, unless its result is in the cache."""
        base = _cache_path("base", self.inputs.base_key)
        if base.exists() and not self.request.fresh:
            os.utime(base)
            self.echo(f"Python and the packages were built before ({self.inputs.base_key[:12]})")
            return base
        with self._timed("base"), _work_directory() as (work, bound), part_file(base) as part:
            locks = fetch_wheels(host_pip(), self.containers, bound, self.echo)
            for lock in [*locks, DEBIAN_LOCK] if self.request.base == "debootstrap" else locks:
                shutil.copy(self.containers / lock, bound)
            self.echo(f"building Python and the packages on a base by {self.request.base}: a minute or more")
            apptainer.build(
                self.containers / RECIPE, part, self.inputs.base, bound, work, self.echo,
                binds=self.request.binds, test=False, hint=_HINTS[self.request.base],
            )  # fmt: skip
            replace(part, base)
        return base


def _cache_path(kind: str, key: str) -> Path:
    return make_folder(cache_folder() / "containers") / f"{kind}-{key[:32]}.sif"


@contextlib.contextmanager
def _locked(echo: Echo) -> Iterator[None]:
    """Hold the lock of the cache, such that a second build of the same inputs waits for the first and reuses it.

    Where the file system has no locks, both build.
    """
    with (make_folder(cache_folder() / "containers") / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            echo("waiting for another build")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise_os_error("lock", Path(file.name), error)
        yield


@contextlib.contextmanager
def _work_directory() -> Iterator[tuple[Path, Path]]:
    """Make a temporary directory, and in it the one that the recipe sees at /mnt."""
    parent = temporary_parent()
    with tempfile.TemporaryDirectory(prefix="nllgen-build-", dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name), make_folder(Path(name) / "bound")


def _deliver(built: Path, request: Request, echo: Echo) -> None:
    """Copy the container to its target, such that signing or editing it leaves the cache alone."""
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
    for kind, num_kept in _KEPT.items():
        paths = sorted((cache_folder() / "containers").glob(f"{kind}-*.sif"), key=lambda path: path.stat().st_mtime)
        for path in paths[:-num_kept]:
            path.unlink(missing_ok=True)
