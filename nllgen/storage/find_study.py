"""Studies by name or directory, and files that a collected study may replace."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from nllgen.errors import ConfigError, CorruptFileError, SchemaError
from nllgen.storage.study_dir import StudyDir, studies
from nllgen.study.diagnostics import did_you_mean


def find_study(name: str, root: Path) -> StudyDir:
    """Return the directory of a study.

    A directory that holds a study is preferred to a study of that name under the root.

    Args:
        name: of the study, or path of its directory.
        root: directory of all studies.

    Raises:
        ConfigError: neither the path nor a study of that name exists.
    """
    path = Path(name).absolute()
    named = StudyDir(root / name)
    is_plain = Path(name).name == name
    if is_plain and not StudyDir(path).is_frozen and named.is_frozen:
        return StudyDir(named.path.absolute())
    if is_plain and not os.path.lexists(path):
        names = [study_dir.path.name for study_dir in studies(root)]
        raise ConfigError(
            f"there is no study {name}, neither here ({path}) nor under {root}{did_you_mean(name, names)}",
            "give a study's directory, or its name with --root DIR",
        )
    return StudyDir(path)


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
