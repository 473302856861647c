"""A copy of the program in the study folder: a study runs the code that it was submitted with."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from nllgen.errors import MachineError
from nllgen.storage.atomic import closed_to_others, make_folder, raise_os_error
from nllgen.storage.ownership import close
from nllgen.storage.provenance import code_sha256
from nllgen.storage.study_dir import StudyDir

_PACKAGE = Path(__file__).parents[1]
_IGNORE = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "share", "truths")


def snapshot_folder(study_dir: StudyDir) -> Path:
    """Return the path of the copy of the running program, which is named by its content."""
    return study_dir.code / code_sha256()[:16]


def snapshot(study_dir: StudyDir) -> Path:
    """Copy the package into a study folder unless an equal copy is there; a damaged copy is moved aside.

    Returns:
        The folder to put first on Python's path.

    Raises:
        MachineError: the disk is full, or the folder is read-only or gone.
    """
    target = snapshot_folder(study_dir)
    try:
        if target.is_dir():
            if _is_equal(target):
                return target
            # renamed, not removed: running jobs keep their files
            target.rename(target.with_name(f"{target.name}.{uuid.uuid4().hex}.damaged"))
    except OSError as error:
        raise_os_error("look at the copy of the program in", target, error)
    make_folder(study_dir.code)
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        with closed_to_others():  # the copy will be executed
            _copy(_PACKAGE, part / "nllgen")
        part.rename(target)
    except (OSError, MachineError) as error:
        shutil.rmtree(part, ignore_errors=True)
        if target.is_dir():  # another submission of the same code was faster
            return target
        if isinstance(error, MachineError):
            raise
        raise_os_error("copy the program to", target, error)
    return target


def _copy(source: Path, target: Path) -> None:
    """Copy the program's files; ``shutil.copytree`` would hide the reason of a failure."""
    make_folder(target)
    for path in _files(source):
        copied = target / path.relative_to(source)
        make_folder(copied.parent)
        shutil.copyfile(path, copied)
        close(copied)


def _files(package: Path) -> Iterator[Path]:
    """Yield the program's files, without bytecode and the data that it ships."""
    for name, dirs, files in os.walk(package, onerror=_raise, followlinks=True):
        ignored = _IGNORE(name, [*dirs, *files])
        dirs[:] = [directory for directory in dirs if directory not in ignored]
        yield from (Path(name, file) for file in files if file not in ignored)


def _is_equal(copy: Path) -> bool:
    """Return True if a folder holds the running program's files, and no links and other files to import instead.

    Bytecode is removed, since it cannot be compared; Python writes it again.
    """
    for cached in [*copy.rglob("__pycache__")]:
        shutil.rmtree(cached, ignore_errors=True)
    if any(path.is_symlink() for path in (copy, *copy.rglob("*"))):  # its target may change later
        return False
    expected = {path.relative_to(_PACKAGE): path for path in _files(_PACKAGE)}
    present = {path.relative_to(copy / "nllgen") for path in (copy / "nllgen").rglob("*") if not path.is_dir()}
    if present != set(expected) or [path.name for path in copy.iterdir()] != ["nllgen"]:
        return False
    return all(path.read_bytes() == (copy / "nllgen" / name).read_bytes() for name, path in expected.items())


def _raise(error: OSError) -> NoReturn:
    raise error
