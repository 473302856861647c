"""Write permissions of others on files that are executed or unpickled: find them and remove them.

A directory with a default ACL, as shared project directories have, gives its files more permissions than the umask
allows. The group bits of a file's mode are then the mask of its ACL, so that the mode shows ACLs as well. The
permissions of future files show in the directory's default ACL alone.
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
    """A permission that lets somebody else change a file or directory.

    Attributes:
        path: the file or directory.
        reason: for example ``mode 775`` or ``owned by user 1001``.
        can_be_closed: whether this user or root owns it.
    """

    path: Path
    reason: str
    can_be_closed: bool


def find_openings(paths: Iterable[Path]) -> Iterator[Opening]:
    """Find openings of files and directories, with everything in them; only links among ``paths`` are followed.

    Yields:
        An opening for each thing that others could change; none for a path that does not exist.
    """
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            yield from _walk(path, path.stat())


def find_links(paths: Iterable[Path]) -> Iterator[Opening]:
    """Find links, in or among files and directories, that lead out of them: what they lead to is not verified.

    Those within are verified where they lead to; submitit makes such links to its own pickles.
    """
    paths = [path for path in paths if os.path.lexists(path)]
    verified = [Path(os.path.realpath(path.parent), path.name) for path in paths]
    for path in paths:
        inner = (
            Path(parent, name)
            for parent, dirs, files in os.walk(path, onerror=_unless_gone)
            for name in [*dirs, *files]
        )
        for link in filter(Path.is_symlink, [path, *inner]):
            target = Path(os.path.realpath(link))
            if not any(target.is_relative_to(tree) for tree in verified):
                is_ours = link.lstat().st_uid in (os.geteuid(), 0)
                is_the_file = link in paths and target.is_file()  # without it, its content would be gone
                yield Opening(link, f"a link to {target}", can_be_closed=is_ours and not is_the_file)


def _unless_gone(error: OSError) -> None:
    """Raise the error of a directory that cannot be listed; a file or what was removed has nothing in it."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def folder_opening(directory: Path) -> Iterator[Opening]:
    """Find the openings of a directory itself, and not of its content."""
    yield from _opening(directory, directory.stat())


def _walk(path: Path, info: os.stat_result) -> Iterator[Opening]:
    yield from _opening(path, info)
    if stat.S_ISDIR(info.st_mode):
        with os.scandir(path) as entries:
            inner = sorted(entries, key=lambda entry: entry.name)
        for entry in inner:
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                yield from _walk(Path(entry.path), entry.stat(follow_symlinks=False))


def _opening(path: Path, info: os.stat_result) -> Iterator[Opening]:
    is_ours = info.st_uid in (os.geteuid(), 0)
    if not is_ours:
        yield Opening(path, f"owned by user {info.st_uid}", can_be_closed=False)
    elif not stat.S_ISLNK(info.st_mode) and info.st_mode & OTHERS_MAY_WRITE:
        yield Opening(path, f"mode {stat.S_IMODE(info.st_mode):o}", can_be_closed=True)
    elif stat.S_ISDIR(info.st_mode) and has_default_acl(path):
        yield Opening(path, "a default ACL, which lets others write the files that are put there", can_be_closed=True)


def has_default_acl(directory: Path) -> bool:
    """Return whether files that are created in a directory inherit an ACL from it."""
    try:
        return _DEFAULT_ACL in os.listxattr(directory)
    except OSError:  # a file system without extended attributes
        return False


def close(path: Path) -> None:
    """Remove the write permissions of others, and the default ACL of a directory; remove a link.

    Raises:
        OSError: it is another user's, or the file system is read-only.
    """
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        path.unlink()
        return
    if info.st_mode & OTHERS_MAY_WRITE:
        path.chmod(stat.S_IMODE(info.st_mode) & ~OTHERS_MAY_WRITE)
    if stat.S_ISDIR(info.st_mode) and has_default_acl(path):
        os.removexattr(path, _DEFAULT_ACL)
