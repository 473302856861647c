"""A file under its final name is complete. Everything is written beside it as ``.part``, synced, then named."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from nllgen.errors import MachineError
from nllgen.storage.ownership import OTHERS_MAY_WRITE, close

LOCK = ".lock"
_WHAT_TO_DO = {
    errno.ENOSPC: "the disk is full: free some space (or choose another folder), then run the same command again",
    errno.EDQUOT: "your quota is used up: free some space (or choose another folder), then run the same command again",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "you may not write there: check the folder's owner and mode, or choose another folder",
    errno.EPERM: "you may not write there: check the folder's owner and mode, or choose another folder",
    errno.ENOTDIR: "a file stands where a folder should be: move it away, or choose another folder",
    errno.EEXIST: "a file stands where a folder should be: move it away, or choose another folder",
    errno.ENOENT: "a folder on the way is missing or was removed while it was in use",
}


def hint_for(error: OSError) -> str:
    """What a user can do about an operating-system error."""
    return _WHAT_TO_DO.get(error.errno or 0, "check the folder and the disk, then run the same command again")


def raise_os_error(what: str, path: Path, error: OSError) -> NoReturn:
    """Turn an operating-system error into one that says what was being done, where, and the way out."""
    raise MachineError(f"cannot {what} {path}: {error.strerror or error}", hint_for(error)) from error


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, for others to read and not to write, whatever umask and default ACLs say.

    Raises:
        MachineError: it cannot be made.
    """
    try:
        _make(path)
    except OSError as error:
        raise_os_error("create the folder", path, error)
    return path


def _make(path: Path) -> None:
    try:
        path.mkdir(0o755)
    except FileNotFoundError:
        if path.parent == path:
            raise
        _make(path.parent)
        path.mkdir(0o755, exist_ok=True)
        close(path)
    except OSError:  # it may be there already: below a read-only folder, that is not what mkdir says
        if not path.is_dir():
            raise
    else:
        close(path)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def closed_to_others() -> Iterator[None]:
    """What submitit, the supervisors and their workers write, others cannot: pickles are run, weights are loaded."""
    before = os.umask(0o022)
    os.umask(before | 0o022)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time does this in a folder, where the file system can lock.

    A file is locked, and is gone afterwards: NFS tells its server, and so other hosts, of locks on files and not of
    those on folders.
    """
    fd = _lock(folder / LOCK)
    try:
        yield
    finally:
        if fd is not None:
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink()  # while it is held: who waits for it finds that it is no longer the lock
            os.close(fd)


def _lock(path: Path) -> int | None:
    """Wait for it; None where there can be none."""
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        except FileNotFoundError:  # its holder has removed it: another is made
            pass
        except OSError:
            os.close(fd)
            return None
        os.close(fd)


@contextlib.contextmanager
def part_file(target: Path, tag: str = "") -> Iterator[Path]:
    """Yield a new name ``<target>.<tag>.part`` in the target's folder; removed at the end if it is still there.

    Without a tag it is no other process's, on this machine or another.

    Raises:
        MachineError: the disk is full, the folder read-only or gone.
    """
    part = target.with_name(f"{target.name}.{tag or uuid.uuid4().hex}.part")
    try:
        yield part
    except OSError as error:
        raise_os_error("write", target, error)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def replace(part: Path, target: Path) -> None:
    """Give a finished part its name, replacing what stood there."""
    part.replace(target)
    sync_folder(target.parent)


def publish(part: Path, target: Path) -> bool:
    """Give a finished part its name unless something has it already.

    Returns:
        Whether this part was published; False where another was first, which then stays as it is.
    """
    try:
        os.link(part, target)
    except FileExistsError:
        return False
    except FileNotFoundError:  # who published it has cleared up
        if target.exists():
            return False
        raise
    sync_folder(target.parent)
    return True


def write_bytes(target: Path, data: bytes | memoryview) -> None:
    """Replace a file's content atomically."""
    with part_file(target) as part:
        write_part(part, data)
        replace(part, target)


def create_bytes(target: Path, data: bytes) -> bool:
    """Create a file with its content at once; False where it exists already."""
    with part_file(target) as part:
        write_part(part, data)
        return publish(part, target)


def write_part(part: Path, data: bytes | memoryview) -> None:
    """Write a part that is not there yet, down to the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(part, flags, 0o644), "wb") as file:
        if os.fstat(file.fileno()).st_mode & OTHERS_MAY_WRITE:  # a default ACL knows no umask
            os.fchmod(file.fileno(), 0o644)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
