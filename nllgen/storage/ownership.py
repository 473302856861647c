"""Who may write what is executed or unpickled: found out by looking at every file, and closed by one function.

A folder with a default ACL, as shared project folders have them, gives its files more than the umask would. The group
bits of a file's mode are then its ACL's mask, so that mode bits tell of ACLs as well; what a folder would give its
future files only its default ACL tells.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DEFAULT_ACL = "system.posix_acl_default"


@dataclass(frozen=True)
class Opening:
    """A way for somebody else to change a file or folder.

    Attributes:
        path: where it is.
        reason: for example ``mode 775`` or ``owned by user 1001``.
        can_be_closed: by its owner, who is this user or root.
    """

    path: Path
    reason: str
    can_be_closed: bool


def find_openings(paths: Iterable[Path]) -> Iterator[Opening]:
    """Look at files, and at folders with all that is in them; a link is followed at the top alone.

    Yields:
        What others could change. A path that is not there is no opening.
    """
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            yield from _look(path, path.stat())


def folder_opening(folder: Path) -> Iterator[Opening]:
    """Look at a folder alone, and not at what is in it."""
    yield from _opening(folder, folder.stat())


def _look(path: Path, info: os.stat_result) -> Iterator[Opening]:
    yield from _opening(path, info)
    if stat.S_ISDIR(info.st_mode):
        with os.scandir(path) as entries:
            inner = sorted(entries, key=lambda entry: entry.name)
        for entry in inner:
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                yield from _look(Path(entry.path), entry.stat(follow_symlinks=False))


def _opening(path: Path, info: os.stat_result) -> Iterator[Opening]:
    is_ours = info.st_uid in (os.geteuid(), 0)
    if not is_ours:
        yield Opening(path, f"owned by user {info.st_uid}", can_be_closed=False)
    elif not stat.S_ISLNK(info.st_mode) and info.st_mode & OTHERS_MAY_WRITE:
        yield Opening(path, f"mode {stat.S_IMODE(info.st_mode):o}", can_be_closed=True)
    elif stat.S_ISDIR(info.st_mode) and has_default_acl(path):
        yield Opening(path, "a default ACL, by which others could write what is put there", can_be_closed=True)


def has_default_acl(folder: Path) -> bool:
    """Whether files that are created in a folder get an ACL from it."""
    try:
        return _DEFAULT_ACL in os.listxattr(folder)
    except OSError:  # a file system without
        return False


def close(path: Path) -> None:
    """Take from others the right to write a file or folder, and from a folder its default ACL.

    Raises:
        OSError: it is another user's, or the file system is read-only.
    """
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        return
    if info.st_mode & OTHERS_MAY_WRITE:
        path.chmod(stat.S_IMODE(info.st_mode) & ~OTHERS_MAY_WRITE)
    if stat.S_ISDIR(info.st_mode) and has_default_acl(path):
        os.removexattr(path, _DEFAULT_ACL)
