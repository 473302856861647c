"""The studies, cluster profiles and container recipe that come with nllgen, in a wheel as in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["jobs", "profiles", "containers"]

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT: dict[Kind, str] = {"jobs": "jobs", "profiles": "slurm/profiles", "containers": "containers"}


def builtin_folder(kind: Kind) -> Path | None:
    """The shipped folder: ``nllgen/share/<kind>`` in a wheel, else the checkout's own; None where neither exists."""
    shared = _PACKAGE / "share" / kind
    if shared.is_dir():
        return shared
    # next to an installed package lies site-packages, whose `jobs` would be somebody else's
    folder = _PACKAGE.parent / _CHECKOUT[kind]
    return folder if (_PACKAGE.parent / "pyproject.toml").is_file() and folder.is_dir() else None


def builtin_path(kind: Kind, name: str) -> Path | None:
    """The shipped file of that name, with or without ``.yaml``; None where there is none."""
    folder = builtin_folder(kind)
    if folder is None or not name or any(bad in name for bad in ("/", "\\", "..", "\0")):
        return None
    # compared with what is there instead of opened: no name can lead out of the folder
    files = {path.name: path for path in folder.iterdir() if path.is_file()}
    return files.get(name) or files.get(f"{name}.yaml")


def builtin_names(kind: Kind) -> list[str]:
    """Names of the shipped files, sorted, without ``.yaml``."""
    folder = builtin_folder(kind)
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.is_file()) if folder else []
