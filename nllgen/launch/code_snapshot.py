"""A study runs the code that it was submitted with, even when the checkout changes afterwards."""

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
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "share", "truths")


def snapshot_folder(study_dir: StudyDir) -> Path:
    """Where the program's copy goes."""
    return study_dir.code / code_sha256()[:16]


def snapshot(study_dir: StudyDir) -> Path:
    """Copy the package into a study's folder, once for each content; a copy that is not the program is moved away.

    Returns:
        The folder to put before all others on Python's path.

    Raises:
        MachineError: the disk is full, the folder read-only or gone.
    """
    folder = snapshot_folder(study_dir)
    try:
        if folder.is_dir():
            if _is_copy(folder):
                return folder
            # jobs that run keep their files
            folder.rename(folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.damaged"))
    except OSError as error:
        raise_os_error("look at the copy of the program in", folder, error)
    make_folder(study_dir.code)
    part = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
    try:
        with closed_to_others():  # it is run later on
            _copy(_PACKAGE, part / "nllgen")
        part.rename(folder)
    except (OSError, MachineError) as error:
        shutil.rmtree(part, ignore_errors=True)
        if folder.is_dir():  # another submission of the same code was quicker
            return folder
        if isinstance(error, MachineError):
            raise
        raise_os_error("copy the program to", folder, error)
    return folder


def _copy(source: Path, target: Path) -> None:
    """As ``shutil.copytree``, which gathers what fails into an error that does not say why."""
    make_folder(target)
    for path in _files(source):
        copied = target / path.relative_to(source)
        make_folder(copied.parent)
        shutil.copyfile(path, copied)
        close(copied)


def _files(package: Path) -> Iterator[Path]:
    """The files of the program, without what is made from them and what it only ships."""
    for name, folders, files in os.walk(package, onerror=_give_up, followlinks=True):
        left_out = _LEFT_OUT(name, [*folders, *files])
        folders[:] = [folder for folder in folders if folder not in left_out]
        yield from (Path(name, file) for file in files if file not in left_out)


def _is_copy(folder: Path) -> bool:
    """Whether a folder holds the running program's files and no others: Python would run a stray one instead.

    Bytecode is not compared but removed; Python makes it anew.
    """
    for cached in [*folder.rglob("__pycache__")]:
        shutil.rmtree(cached, ignore_errors=True)
    expected = {path.relative_to(_PACKAGE): path for path in _files(_PACKAGE)}
    present = {path.relative_to(folder / "nllgen") for path in (folder / "nllgen").rglob("*") if not path.is_dir()}
    if present != set(expected) or [path.name for path in folder.iterdir()] != ["nllgen"]:
        return False
    return all(path.read_bytes() == (folder / "nllgen" / name).read_bytes() for name, path in expected.items())


def _give_up(error: OSError) -> NoReturn:
    """A folder that cannot be listed is not one without files."""
    raise error
