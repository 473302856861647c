"""Studies by name or directory, and files that a collected study may replace."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from nllgen.errors import ConfigError, CorruptFileError, SchemaError
from nllgen.storage.study_dir import StudyDir, studies
from nllgen.study.builtin import builtin_path
from nllgen.study.diagnostics import did_you_mean
from nllgen.study.path_kinds import (
    COLLECTED,
    COLLECTED_KINDS,
    PathKind,
    is_study,
    not_a_grid,
    not_a_study,
    not_collected,
    path_kind,
)
from nllgen.study.user_directories import plain_path


def find_study(name: str, root: Path) -> StudyDir:
    """Return the directory of a study.

    A directory that holds a study is preferred to a study of that name under the root.

    Args:
        name: of the study, or path of its directory.
        root: directory of all studies.

    Raises:
        ConfigError: neither the path nor a study of that name exists, or the path is of another kind.
    """
    path = plain_path(name)
    named = StudyDir(root / name)
    is_plain = Path(name).name == name
    if is_plain and not StudyDir(path).is_frozen and named.is_frozen:
        return StudyDir(plain_path(named.path))
    if is_plain and not os.path.lexists(path):
        names = [study_dir.path.name for study_dir in studies(root)]
        raise ConfigError(
            f"there is no study {name}, neither here ({path}) nor under {root}{did_you_mean(name, names)}",
            "give a study's directory, or its name with --root DIR",
        )
    if not StudyDir(path).is_frozen:
        raise not_a_study(path, root)
    return StudyDir(path)


def find_collected(name: str, root: Path) -> StudyDir | Path:
    """Return the study that is named by its name, its directory or a study.h5 that is yet to be written; else the file.

    Args:
        name: of the study, or path of its directory or of a study.h5.
        root: directory of all studies.

    Raises:
        ConfigError: it is a path of another kind, or there is no study of that name.
    """
    path = Path(name)
    kind = path_kind(path)
    if kind is PathKind.MISSING and path.name == COLLECTED and is_study(path.absolute().parent):
        return find_study(str(path.absolute().parent), root)
    if kind in COLLECTED_KINDS or (kind is PathKind.MISSING and path.suffix == ".h5"):
        return path
    if kind in (PathKind.MISSING, PathKind.STUDY) or is_study(root / name):
        return find_study(name, root)
    raise not_collected(path, root)


def require_no_study(grid: str, root: Path) -> None:
    """Check that a grid is not the name of a study under a root alone.

    Raises:
        ConfigError: it is: no file and no built-in study has that name.
    """
    is_name = grid and Path(grid).name == grid and not os.path.lexists(grid) and not builtin_path("jobs", grid)
    if is_name and is_study(root / grid):
        raise not_a_grid(root / grid)


def require_replaceable(out: Path, name: str) -> None:
    """Check that a file does not exist or is an older collected file of a study.

    Raises:
        ConfigError: it is a directory, a link, another file, or holds another study.
    """
    if not os.path.lexists(out):
        return
    what = "is a link" if out.is_symlink() else "is a directory" if out.is_dir() else "is not a study.h5"
    if out.is_file() and not out.is_symlink():
        from nllgen.storage.study_file import study_name  # imports h5py

        with contextlib.suppress(CorruptFileError, SchemaError):
            if (stored := study_name(out)) == name:
                return
            what = f"holds the study {stored}"
    raise ConfigError(
        f"{out} {what}: it is not replaced by {name}", "choose another --out, or add --force to replace it"
    )
