"""Looks at a folder by using it, in a process of its own, for a file server that hangs takes its caller along."""

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
from pathlib import Path
from typing import Any

from nllgen.storage.capabilities import create_exclusively, try_exclusive, try_links, try_rename

# https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html: the type stands after the separator
_NETWORK = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb", "afs", "9p", "gluster", "panfs", "pvfs", "wekafs")


def probe(folder: Path) -> dict[str, Any]:
    """Everything about a folder, or its nearest parent that is there.

    Returns:
        ``path`` that was looked at, ``kind`` of file system, ``network``, ``owner``, ``mode``, ``free_gb``,
        ``free_files``, and ``error`` where nothing can be written; else how each operation went: an empty text, or
        what went wrong.
    """
    place = folder.absolute()
    try:
        while not place.is_dir() and place != place.parent:
            place = place.parent
        info = place.stat()
    except OSError as error:  # a folder on the way is closed
        return {"path": str(place), "error": error.strerror or str(error)}
    kind = file_system(place)
    found: dict[str, Any] = {
        "path": str(place),
        "kind": kind,
        "network": any(name in kind.lower() for name in _NETWORK),
        "owner": info.st_uid,
        "mode": stat.S_IMODE(info.st_mode),
    }
    room = os.statvfs(place)
    found["free_gb"] = room.f_bavail * room.f_frsize / 1e9
    found["free_files"] = room.f_favail if room.f_files else None
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".nllgen-doctor.", dir=place))
    except OSError as error:
        return found | {"error": error.strerror or str(error)}
    try:
        return found | use(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def use(folder: Path) -> dict[str, Any]:
    """Do in an empty folder what nllgen does in a study's; see :func:`probe`."""
    steps: dict[str, Callable[[Path], None]] = {
        "exclusive": try_exclusive,
        "links": try_links,
        "rename": try_rename,
        "fsync": _fsync,
        "flock": _flock,
        "posix_lock": _posix_lock,
    }
    found: dict[str, Any] = {}
    for name, step in steps.items():
        begun = time.perf_counter()
        try:
            step(folder)
            found[name] = ""
        except OSError as error:
            found[name] = error.strerror or str(error)
        except RuntimeError as error:
            found[name] = str(error)
        found[f"{name}_ms"] = (time.perf_counter() - begun) * 1e3
    with contextlib.suppress(OSError):
        found["skew_s"], found["granularity_s"] = clock(folder)
    return found


def file_system(path: Path) -> str:
    """Type of the file system of a folder; empty where the kernel does not say."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    device, best, kind = path.stat().st_dev, -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split()
        point = fields[4].encode("latin-1", "replace").decode("unicode_escape")
        same = fields[2] == f"{os.major(device)}:{os.minor(device)}"
        # the device says it where it is the kernel's; btrfs and the like have others, and the longest point counts
        rank = len(point) + 10_000 * same
        if path.resolve().is_relative_to(point) and rank > best:
            best, kind = rank, after.split()[0]
    return kind


def _fsync(folder: Path) -> None:
    fd = create_exclusively(folder / "synced")
    try:
        os.write(fd, bytes(4096))
        os.fsync(fd)
    finally:
        os.close(fd)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _flock(folder: Path) -> None:
    first, second = create_exclusively(folder / "flock"), os.open(folder / "flock", os.O_RDWR)
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


def _posix_lock(folder: Path) -> None:
    fd = create_exclusively(folder / "posix")
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(fd)


def clock(folder: Path, num: int = 20) -> tuple[float, float]:
    """How far the file system's clock is before this machine's, and how coarsely it counts.

    Returns:
        Seconds that a file's time differs from now, beyond what the call itself took; and the unit of the times seen
        while a file was written again and again: 1, 1e-3, 1e-6 or 1e-9 s.
    """
    path = folder / "touched"
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
    """The process: prints one JSON object about the folder that it is given, and leaves nothing behind."""
    print(json.dumps(probe(Path(sys.argv[1]))))
