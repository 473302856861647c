"""Trial of a directory by using it, in a process of its own: a file server that hangs blocks its caller for good."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from nllgen.container.host import file_system, is_network
from nllgen.storage.atomic import sync_folder
from nllgen.storage.capabilities import create_exclusively, try_exclusive, try_links, try_rename


@dataclass(frozen=True)
class DirectoryState:
    """Properties of a directory, or of its nearest parent that exists."""

    path: str
    error: str = ""  # why nothing can be written there; empty where it can
    file_system: str = ""  # its type; empty where the kernel does not say
    is_network: bool = False  # whether the file system lies on other machines
    owner: int = 0
    mode: int = 0
    free_gb: float = 0.0
    free_files: int | None = None  # free inodes; None where the file system has no limit
    # operation → the error it failed with, empty where it works
    failures: dict[str, str] = field(default_factory=dict)
    fsync_ms: float = 0.0  # time to write a file and its directory to the disk
    # seconds by which the file system's clock is ahead; None where it could not be measured
    clock_skew_s: float | None = None
    clock_unit_s: float = 1.0  # resolution of its times


def try_directory(directory: Path) -> DirectoryState:
    """Try a directory, or its nearest parent that exists, and leave nothing behind."""
    parent = directory.absolute()
    try:
        while not parent.is_dir() and parent != parent.parent:
            parent = parent.parent
        info = parent.stat()
    except OSError as error:  # a parent may not be entered
        return DirectoryState(str(parent), error.strerror or str(error))
    kind, free = file_system(parent), os.statvfs(parent)
    state = DirectoryState(
        path=str(parent),
        file_system=kind,
        is_network=is_network(kind),
        owner=info.st_uid,
        mode=stat.S_IMODE(info.st_mode),
        free_gb=free.f_bavail * free.f_frsize / 1e9,
        free_files=free.f_favail if free.f_files else None,
    )
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".nllgen-doctor.", dir=parent))
    except OSError as error:
        return replace(state, error=error.strerror or str(error))
    try:
        return _try_operations(scratch, state)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _try_operations(scratch: Path, state: DirectoryState) -> DirectoryState:
    operations: dict[str, Callable[[Path], None]] = {
        "exclusive": try_exclusive,
        "links": try_links,
        "rename": try_rename,
        "fsync": _try_fsync,
        "flock": _try_flock,
        "posix_lock": _try_posix_lock,
    }
    failures, times_ms = {}, {}
    for name, operation in operations.items():
        start = time.perf_counter()
        failures[name] = _failure(operation, scratch)
        times_ms[name] = (time.perf_counter() - start) * 1e3
    state = replace(state, failures=failures, fsync_ms=times_ms["fsync"])
    with contextlib.suppress(OSError):
        skew_s, unit_s = measure_clock(scratch)
        state = replace(state, clock_skew_s=skew_s, clock_unit_s=unit_s)
    return state


def _failure(operation: Callable[[Path], None], scratch: Path) -> str:
    try:
        operation(scratch)
    except OSError as error:
        return error.strerror or str(error)
    except RuntimeError as error:
        return str(error)
    return ""


def _try_fsync(scratch: Path) -> None:
    with os.fdopen(create_exclusively(scratch / "synced"), "wb", buffering=0) as file:
        file.write(bytes(4096))
        os.fsync(file.fileno())
    sync_folder(scratch)


def _try_flock(scratch: Path) -> None:
    first, second = create_exclusively(scratch / "flock"), os.open(scratch / "flock", os.O_RDWR)
    try:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return
            raise
        raise RuntimeError("two held the same lock")
    finally:
        os.close(first)
        os.close(second)


def _try_posix_lock(scratch: Path) -> None:
    with os.fdopen(create_exclusively(scratch / "posix"), "wb") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def measure_clock(directory: Path, num: int = 20) -> tuple[float, float]:
    """Measure the clock of a file system.

    Returns:
        Seconds by which a file's time is ahead of this machine's clock, beyond the duration of the call itself; and the
        unit of the times seen while a file was written again and again: 1, 1e-3, 1e-6 or 1e-9 s.
    """
    path = directory / "touched"
    path.touch()
    times, skews = set(), []
    for _ in range(num):
        before = time.time()
        with path.open("ab", buffering=0) as file:
            file.write(b".")
        modified, after = path.stat().st_mtime_ns / 1e9, time.time()
        skews.append(modified - after if modified > after else min(modified - before, 0.0))
        times.add(path.stat().st_mtime_ns)
        time.sleep(0.006)  # longer than the kernel's own tick
    unit_ns = max(unit for unit in (10**9, 10**6, 10**3, 1) if all(stamp % unit == 0 for stamp in times))
    return min(skews, key=abs), unit_ns / 1e9


def main() -> None:
    """Print the state of the directory in the first argument as one JSON object."""
    print(json.dumps(asdict(try_directory(Path(sys.argv[1])))))
