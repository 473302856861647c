"""Collection of a study into its study.h5, for the commands that need one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nllgen.errors import IncompleteError, MachineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nllgen.storage.collect import Collected
    from nllgen.storage.study_dir import StudyDir

_NUM_PICTURES = 64  # of MNIST, beside the samples of a report


def collect_study(study_dir: StudyDir, out: Path, echo: Callable[[str], None], *, allow_missing: bool) -> Collected:
    """Write the results of a study, and some pictures of MNIST where it is on this machine, into one file.

    Raises:
        IncompleteError: some cells have no result, and that is not allowed.
        MachineError: a result cannot be read now, or the file cannot be written.
    """
    from nllgen.assets import asset_folder, mnist_pictures
    from nllgen.cli.progress import counted
    from nllgen.storage.collect import collect

    study = study_dir.read_study()
    size = (study.truth or study.cells[0]).data.image_size
    pictures = mnist_pictures(asset_folder(), _NUM_PICTURES, size)
    reference = {} if pictures is None else {"mnist": pictures}
    with counted("reading results", echo) as progress:
        return collect(study_dir, out, allow_missing=allow_missing, reference=reference, progress=progress)


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
