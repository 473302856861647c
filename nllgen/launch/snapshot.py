"""A study runs the code that it was submitted with, even when the checkout changes afterwards."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import NoReturn

from nllgen.store.atomic import closed_to_others, make_folder, refuse
from nllgen.store.provenance import code_sha256
from nllgen.store.study_dir import StudyDir

_PACKAGE = Path(__file__).parents[1]
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "share", "truths")


def snapshot_folder(study_dir: StudyDir) -> Path:
    """Where the program's copy goes."""
    return study_dir.code / code_sha256()[:16]


def snapshot(study_dir: StudyDir) -> Path:
    """Copy the package into a study's folder, once for each content.

    Returns:
        The folder to put before all others on Python's path.

    Raises:
        MachineError: the disk is full, the folder read-only or gone.
    """
    folder = snapshot_folder(study_dir)
    if folder.is_dir():
        return folder
    make_folder(study_dir.code)
    part = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
    try:
        with closed_to_others():  # it is run later on
            _copy(_PACKAGE, part / "nllgen")
        part.rename(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        if not folder.is_dir():  # else another submission of the same code was quicker
            refuse("copy the program to", folder, error)
    return folder


def _copy(source: Path, target: Path) -> None:
    """As ``shutil.copytree``, which gathers what fails into an error that does not say why."""
    for name, folders, files in os.walk(source, onerror=_give_up, followlinks=True):
        left_out = _LEFT_OUT(name, [*folders, *files])
        folders[:] = [folder for folder in folders if folder not in left_out]
        into = target / Path(name).relative_to(source)
        into.mkdir(parents=True)
        for file in files:
            if file not in left_out:
                shutil.copyfile(Path(name, file), into / file)


def _give_up(error: OSError) -> NoReturn:
    """A folder that cannot be listed is not one without files."""
    raise error
