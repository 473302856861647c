"""Patience with a file server: it shows a file of another node after some seconds (attribute caching of NFS)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 4.0


def refresh(directory: Path) -> None:
    """Open and list a directory, which makes a client of NFS ask its server for the entries."""
    with contextlib.suppress(OSError):
        list(directory.iterdir())


def appears(is_there: Callable[[], bool], directories: Iterable[Path], patience_s: float) -> bool:
    """Return True as soon as something is there; an absence is judged again, after a refresh of its directories."""
    own = list(directories)
    places = dict.fromkeys([*(path.parent for path in own), *own])
    end, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
    while not is_there():
        if time.monotonic() >= end:
            return False
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _MAX_PAUSE_S)
        for directory in places:
            refresh(directory)
    return True
