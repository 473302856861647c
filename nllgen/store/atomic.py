"""A file under its final name is complete. Everything is written beside it as ``.part``, synced, then named."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from nllgen.errors import MachineError

_WHAT_TO_DO = {
    errno.ENOSPC: "the disk is full: free some space (or choose another --root), then run the same command again",
    errno.EDQUOT: "your quota is used up: free some space (or choose another --root), then run the same command again",
    errno.EROFS: "the file system is read-only: choose another --root",
    errno.EACCES: "you may not write there: check the folder's owner and mode, or choose another --root",
    errno.EPERM: "you may not write there: check the folder's owner and mode, or choose another --root",
    errno.ENOTDIR: "a file stands where a folder should be: move it away, or choose another --root",
    errno.EEXIST: "a file stands where a folder should be: move it away, or choose another --root",
    errno.ENOENT: "a folder on the way is missing or was removed while it was in use",
}


def way_out(error: OSError) -> str:
    """What a user can do about an operating-system error."""
    return _WHAT_TO_DO.get(error.errno or 0, "check the folder and the disk, then run the same command again")


def refuse(what: str, path: Path, error: OSError) -> NoReturn:
    """Turn an operating-system error into one that says what was being done, where, and the way out."""
    raise MachineError(f"cannot {what} {path}: {error.strerror or error}", way_out(error)) from error


def make_folder(path: Path, mode: int = 0o777) -> Path:
    """Create a folder and its parents; a typed error where that cannot be."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        refuse("create the folder", path, error)
    return path


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def part_file(target: Path, tag: str = "") -> Iterator[Path]:
    """Yield a new name ``<target>.<tag>.part`` in the target's folder; removed at the end if it is still there.

    Raises:
        MachineError: the disk is full, the folder read-only or gone.
    """
    part = target.with_name(f"{target.name}.{tag or f'{os.uname().nodename}-{os.getpid()}'}.part")
    try:
        part.unlink(missing_ok=True)
        yield part
    except OSError as error:
        refuse("write", target, error)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Flush a closed file to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace(part: Path, target: Path) -> None:
    """Give a finished part its name, replacing what stood there."""
    sync_file(part)
    part.replace(target)
    sync_folder(target.parent)


def publish(part: Path, target: Path) -> bool:
    """Give a finished part its name unless something has it already.

    Returns:
        Whether this part was published; False where another was first, which then stays as it is.
    """
    sync_file(part)
    try:
        os.link(part, target)
    except FileExistsError:
        return False
    sync_folder(target.parent)
    return True


def write_bytes(target: Path, data: bytes) -> None:
    """Replace a file's content atomically."""
    with part_file(target) as part:
        _fill(part, data)
        replace(part, target)


def create_bytes(target: Path, data: bytes) -> bool:
    """Create a file with its content at once; False where it exists already."""
    with part_file(target) as part:
        _fill(part, data)
        return publish(part, target)


def _fill(part: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(part, flags, 0o644), "wb") as file:
        file.write(data)


def write_with(target: Path, fill: Callable[[Path], None]) -> None:
    """Replace a file atomically with what ``fill`` writes to the path it is given."""
    with part_file(target) as part:
        fill(part)
        replace(part, target)
