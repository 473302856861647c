"""Patience with a file server: it shows a file of another node after some seconds (attribute caching of NFS)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from nllgen.errors import MachineError
from nllgen.storage.atomic import raise_os_error

_LINKED = 3  # directories above a task's file that may be links: its own, cells, the study's
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 4.0


def is_there(path: Path) -> bool:
    """Return whether something lies at a path; only a file system that answers says no.

    ``Path.exists`` says no also where a link leads to a disk that is not mounted, and from Python 3.14 on where a file
    server does not answer.

    Raises:
        MachineError: nobody can tell now.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        _check_links(path)
        return False
    except OSError as error:
        raise_os_error("read", path, error)
    return True


def _check_links(path: Path) -> None:
    """Refuse a link on the way to a path that leads nowhere.

    Raises:
        MachineError: there is one.
    """
    for link in (path, *path.parents[:_LINKED]):
        if link.is_symlink() and not is_seen(link):
            raise MachineError(
                f"{link} is a link to {link.readlink()}, which is not there now",
                "mount or fetch what it leads to, or rename the link: what it led to is then made anew",
            )


def is_seen(path: Path) -> bool:
    """Return whether something is seen at a path that is polled; what nobody can tell now is asked again."""
    with contextlib.suppress(OSError):
        return path.exists()
    return False


def refresh(directory: Path) -> None:
    """Open and list a directory, which makes a client of NFS ask its server for the entries."""
    with contextlib.suppress(OSError):
        list(directory.iterdir())


def appears(condition: Callable[[], bool], directories: Iterable[Path], patience_s: float) -> bool:
    """Return True as soon as something is there; an absence is judged again, after a refresh of its directories."""
    own = list(directories)
    places = dict.fromkeys([*(path.parent for path in own), *own])
    end, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _MAX_PAUSE_S)
        for directory in places:
            refresh(directory)
    return True
