"""Paths as users write them, and their directories for data, caches, profiles and logs.

The directories are those of the XDG Base Directory Specification 0.8.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

_DEFAULTS = {"DATA": ".local/share", "CACHE": ".cache", "CONFIG": ".config", "STATE": ".local/state"}
_NO_HOME = Path("/nonexistent")  # nothing is found there, and only root can write there


def expand_home(path: str | Path) -> Path:
    """Expand a leading ``~``; leave it where the home directory is unknown."""
    with contextlib.suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def plain_path(path: str | Path) -> Path:
    """Return the absolute path without ``..`` that leads to the same place; a link stays where it is not left again."""
    absolute = Path(path).absolute()
    plain = Path(absolute.anchor)
    for part in absolute.parts[1:]:
        if part == "..":
            plain = (plain.resolve() if plain.is_symlink() else plain).parent
        else:
            plain /= part
    return plain


def user_directory(kind: Literal["DATA", "CACHE", "CONFIG", "STATE"]) -> Path:
    """Return ``nllgen`` in ``$XDG_<kind>_HOME`` or its default; below /nonexistent for a user without a home."""
    if chosen := os.environ.get(f"XDG_{kind}_HOME"):
        return expand_home(chosen) / "nllgen"
    home = expand_home("~")
    return (home if home.is_absolute() else _NO_HOME) / _DEFAULTS[kind] / "nllgen"
