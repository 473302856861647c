"""The studies, cluster profiles and container recipe that ship with nllgen, in a wheel and in a checkout.

setup.py runs this file to read ``SHIPPED_DIRECTORIES``, so that it may import only the standard library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["jobs", "profiles", "containers"]

# Directory in a wheel, below nllgen/share → directory in a checkout.
SHIPPED_DIRECTORIES: dict[Kind, str] = {"jobs": "jobs", "profiles": "slurm/profiles", "containers": "containers"}

_PACKAGE = Path(__file__).resolve().parents[1]


def builtin_folder(kind: Kind) -> Path | None:
    """Return ``nllgen/share/<kind>`` of a wheel, else the checkout's directory; None where neither exists."""
    shared = _PACKAGE / "share" / kind
    if shared.is_dir():
        return shared
    # An installed package lies in site-packages, where `jobs` would belong to another project.
    directory = _PACKAGE.parent / SHIPPED_DIRECTORIES[kind]
    return directory if (_PACKAGE.parent / "pyproject.toml").is_file() and directory.is_dir() else None


def builtin_path(kind: Kind, name: str) -> Path | None:
    """Return the shipped file of that name, with or without ``.yaml``; None where there is none."""
    directory = builtin_folder(kind)
    if directory is None or not name or any(bad in name for bad in ("/", "\\", "..", "\0")):
        return None
    # The name is compared with the files of the directory instead of opened, so that it cannot leave the directory.
    files = {path.name: path for path in directory.iterdir() if path.is_file()}
    return files.get(name) or files.get(f"{name}.yaml")


def builtin_names(kind: Kind) -> list[str]:
    """List the names of the shipped files, sorted, without ``.yaml``."""
    directory = builtin_folder(kind)
    if directory is None:
        return []
    return sorted(path.name.removesuffix(".yaml") for path in directory.iterdir() if path.is_file())
