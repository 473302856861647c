"""Atomic publication: a file is written as ``.part`` beside its final name, synced, then renamed or linked."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from nllgen.errors import MachineError
from nllgen.storage.ownership import OTHERS_MAY_WRITE, close

LOCK = ".lock"
# what a lock fails with where a file system has none at all; any other failure may pass, and is no leave to go on
NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
_WHAT_TO_DO = {
    errno.EMFILE: "the process has too many open files: raise the limit (ulimit -n), then run the same command again",
    errno.ENFILE: "the machine has too many open files: run the same command again later, or on another machine",
    errno.ENOSPC: "the disk is full: free some space (or choose another folder), then run the same command again",
    errno.EDQUOT: "your quota is used up: free some space (or choose another folder), then run the same command again",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "you may not write there: check the folder's owner and mode, or choose another folder",
    errno.EPERM: "you may not write there: check the folder's owner and mode, or choose another folder",
    errno.ENOTDIR: "a file stands where a folder should be: move it away, or choose another folder",
    errno.EEXIST: "a file stands where a folder should be: move it away, or choose another folder",
    errno.EAGAIN: "it is in use: run the same command again",
    errno.ESTALE: "the file server lost it for the moment: run the same command again",
    errno.EIO: "the disk or the file server does not answer: run the same command again",
    errno.ENOENT: "a folder on the way is missing or was removed while it was in use",
}


def hint_for(error: OSError) -> str:
    """Return what a user can do about an operating-system error."""
    return _WHAT_TO_DO.get(error.errno or 0, "check the folder and the disk, then run the same command again")


def raise_os_error(what: str, path: Path, error: OSError) -> NoReturn:
    """Raise a MachineError that says what was being done, where, and what to do now."""
    raise MachineError(f"cannot {what} {path}: {error.strerror or error}", hint_for(error)) from error


def identity_of(info: os.stat_result) -> tuple[int, ...]:
    """Return what tells one content of a file from any other: device, inode, size, times."""
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def make_folder(path: Path) -> Path:
    """Create a directory and its parents, which others may read but not write, whatever umask and default ACLs say.

    Raises:
        MachineError: it cannot be created.
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
    except OSError:  # it may exist already: below a read-only directory, mkdir reports something else
        if not path.is_dir():
            raise
    else:
        close(path)


def sync_folder(directory: Path) -> None:
    """Write the names in a directory to the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def closed_to_others() -> Iterator[None]:
    """Create files that others cannot write: pickles are executed, weights are loaded."""
    before = os.umask(0o022)
    os.umask(before | 0o022)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory; on a file system without locks, do nothing.

    The lock is on a file, which is removed afterwards: NFS passes locks on files to other hosts, but not those on
    directories.

    Raises:
        MachineError: the lock cannot be taken now, although the file system may have locks.
    """
    try:
        fd = _lock(directory / LOCK)
    except OSError as error:
        raise_os_error("lock", directory, error)
    try:
        yield
    finally:
        if fd is not None:
            with contextlib.suppress(OSError):
                (directory / LOCK).unlink()  # while it is held: a waiting process sees that the file has changed
            os.close(fd)


def _lock(path: Path) -> int | None:
    """Wait for the lock; return None where the file system has no locks."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            if not _flock(fd):
                return None
            if os.path.samestat(os.fstat(fd), path.stat()):
                held, fd = fd, -1
                return held
        except FileNotFoundError:  # its holder has removed it: try again with a new file
            pass
        finally:
            if fd >= 0:
                os.close(fd)


def _flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise
    return True


@contextlib.contextmanager
def part_file(target: Path, tag: str = "") -> Iterator[Path]:
    """Yield the new name ``<target>.<tag>.part``; a file of that name is removed at the end.

    Without a tag, the name is unique among all machines.

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
    """Rename a finished part to its target, replacing an existing file."""
    part.replace(target)
    sync_folder(target.parent)


def publish(part: Path, target: Path) -> bool:
    """Link a finished part to its target, unless that exists.

    Returns:
        Whether this part was published; False where another was first, which is left as it is.
    """
    try:
        os.link(part, target)
    except FileExistsError:
        return False
    except FileNotFoundError:  # the process that published it has removed the part
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
    """Create a file with its content atomically; return False where it exists already."""
    with part_file(target) as part:
        write_part(part, data)
        return publish(part, target)


def write_part(part: Path, data: bytes | memoryview) -> None:
    """Write a new part and sync it to the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(part, flags, 0o644), "wb") as file:
        if os.fstat(file.fileno()).st_mode & OTHERS_MAY_WRITE:  # a default ACL overrides the umask
            os.fchmod(file.fileno(), 0o644)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def set_aside(path: Path) -> Path | None:
    """Rename a file that does not count to a free name, ``<name>.damaged`` or ``<name>.damaged.2``.

    Returns:
        The new name; None where another process has moved the file already.
    """
    if not os.path.lexists(path):
        return None
    for number in itertools.count(1):
        aside = path.with_name(f"{path.name}.damaged{f'.{number}' if number > 1 else ''}")
        with contextlib.suppress(FileExistsError):
            aside.touch(exist_ok=False)  # the name is this process's: another one that moves its file takes the next
            break
    try:
        return path.replace(aside)
    except OSError as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, FileNotFoundError):
            return None
        raise
