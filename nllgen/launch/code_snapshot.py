"""A copy of the program in the study folder: a study runs the code that it was submitted with."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from nllgen.errors import MachineError
from nllgen.storage.atomic import closed_to_others, make_folder, raise_os_error
from nllgen.storage.ownership import close
from nllgen.storage.provenance import code_sha256, digest_of_package
from nllgen.storage.study_dir import StudyDir

_PACKAGE = Path(__file__).parents[1]
_NAME = "[0-9a-f]{64}"  # the digest of the copied program
_IGNORE = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "share", "truths")


def snapshot_folder(study_dir: StudyDir) -> Path:
    """Return the path of the copy of the running program, which is named by its content."""
    return study_dir.code / code_sha256()


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
            _set_aside(target)
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


def set_wrong_copies_aside(study_dir: StudyDir) -> list[Path]:
    """Rename the copies whose content has another digest than their name, as after others could write there.

    Bytecode is removed from all, since it proves nothing; Python writes it again.

    Returns:
        The names that they had.

    Raises:
        MachineError: the folder cannot be read or written.
    """
    wrong = []
    try:
        copies = [path for path in study_dir.code.glob("*") if re.fullmatch(_NAME, path.name)]
        for copy in copies:
            if not _is_clean(copy) or digest_of_package(copy / "nllgen") != copy.name:
                _set_aside(copy)
                wrong.append(copy)
    except OSError as error:
        raise_os_error("look at the copies of the program in", study_dir.code, error)
    return wrong


def _set_aside(copy: Path) -> None:
    if copy.is_symlink():
        copy.unlink()
    else:  # renamed, not removed: running jobs keep their files
        copy.rename(copy.with_name(f"{copy.name}.{uuid.uuid4().hex}.damaged"))


def _is_clean(copy: Path) -> bool:
    """Return True if a folder holds the package alone, without links and what Python might import in a source's place.

    Bytecode is removed; a job that runs may write it again at any time.
    """
    if copy.is_symlink() or not copy.is_dir() or [path.name for path in copy.iterdir()] != ["nllgen"]:
        return False
    if any(path.is_symlink() for path in copy.rglob("*")):
        return False
    for cached in [*copy.rglob("__pycache__")]:
        shutil.rmtree(cached, ignore_errors=True)
    return not any(path.suffix in (".pyc", ".so") for path in _present(copy))


def _present(directory: Path) -> set[Path]:
    paths = (path for path in directory.rglob("*") if not path.is_dir())
    return {path.relative_to(directory) for path in paths if path.parent.name != "__pycache__"}


def _is_equal(copy: Path) -> bool:
    """Return True if a folder holds the running program's files and no others, which Python might import instead."""
    if not _is_clean(copy):
        return False
    expected = {path.relative_to(_PACKAGE): path for path in _files(_PACKAGE)}
    if _present(copy / "nllgen") != set(expected):
        return False
    return all(path.read_bytes() == (copy / "nllgen" / name).read_bytes() for name, path in expected.items())


def _raise(error: OSError) -> NoReturn:
    raise error
