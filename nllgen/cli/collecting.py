"""Collection of a study into its study.h5, for the commands that need one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nllgen.errors import IncompleteError, MachineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nllgen.storage.collect import Collected
    from nllgen.storage.hdf5_data import Array
    from nllgen.storage.study_dir import StudyDir

_NUM_PICTURES = 64  # of each real source, beside the samples of a report


def collect_study(study_dir: StudyDir, out: Path, echo: Callable[[str], None], *, allow_missing: bool) -> Collected:
    """Write the results of a study, and some pictures of its real images where they are on this machine, into one file.

    Raises:
        IncompleteError: some cells have no result, and that is not allowed.
        MachineError: a result cannot be read now, or the file cannot be written.
    """
    from nllgen.cli.progress import counted
    from nllgen.storage.collect import collect

    reference = _pictures(study_dir)
    with counted("reading results", echo) as progress:
        return collect(study_dir, out, allow_missing=allow_missing, reference=reference, progress=progress)


def _pictures(study_dir: StudyDir) -> dict[str, Array]:
    """Return the first test images of each real source of a study that are on this machine."""
    from nllgen.assets import asset_folder, first_pictures
    from nllgen.study.image_files import first_test_pictures

    reference: dict[str, Array] = {}
    for data in {data.source: data for data in study_dir.read_study().real_data}.values():
        if data.sha256 is not None:
            pictures = first_test_pictures(study_dir.images(data.sha256), _NUM_PICTURES, data.num_test)
        else:
            pictures = first_pictures(asset_folder(), data.source, _NUM_PICTURES, data.image_size)
        if pictures is not None:
            reference[data.source] = pictures
    return reference


def up_to_date(study_dir: StudyDir, echo: Callable[[str], None], warn: Callable[[str], None]) -> Path:
    """Return a study's study.h5, after it was written again if it lacks results; what is missing is marked in it.

    Where it cannot be written, as in the study of somebody else, an older one will do.

    Raises:
        IncompleteError: no cell has a result.
        MachineError: there is no study.h5, and none can be written.
    """
    from nllgen.launch.collection import has_result, is_behind
    from nllgen.storage.collect import share_text

    path, study = study_dir.collected, study_dir.read_study()
    if not is_behind(study_dir):
        return path
    if not has_result(study_dir):
        raise IncompleteError(share_text(0, len(study.cells)), f"see: nllgen status {study_dir.path}")
    state = "was older than some results" if path.exists() else "was not there"
    try:
        collected = collect_study(study_dir, path, echo, allow_missing=True)
    except MachineError as error:
        if not path.exists():
            hint = f"nllgen collect {study_dir.path} --allow-missing -o FILE, then: nllgen report FILE"
            raise MachineError(error.message, hint) from error
        warn(f"{path} {state}, and is used as it is: {error.message}")
        return path
    echo(f"collected first, since {path} {state}: {collected.share_text}")
    return path
