"""Freezing a study: its grid, merged with what the folder holds already, becomes the content of the folder."""

from __future__ import annotations

from pathlib import Path

from nllgen.errors import ConflictError
from nllgen.launch.executables import record_own
from nllgen.launch.submission_lock import submission_lock
from nllgen.launch.trust import require_trust
from nllgen.launch.watch import Echo
from nllgen.planning.study_plan import left_out_note
from nllgen.storage.atomic import make_folder, raise_os_error, write_bytes
from nllgen.storage.capabilities import require_publishing
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.extend import extend_study, rules_note
from nllgen.study.image_files import npz_bytes, read_images
from nllgen.study.pretrained import pretrained_weights


def freeze(study: Study, root: Path, echo: Echo = lambda text: None) -> tuple[StudyDir, Study, int]:
    """Freeze a study in its folder, or add its new cells to the study that is frozen there; this user trusts it.

    Returns:
        The folder, the frozen study, and the number of cells that are new in it.

    Raises:
        ConflictError: the folder holds another study; nothing was changed.
        MachineError: the folder cannot be made, or others may write to it.
    """
    make_folder(root)
    study_dir = StudyDir(root / study.name)
    if not study_dir.is_frozen:
        require_publishing(root)
    before, merged = _merge_with_frozen(study_dir, study)
    if note := record_own(merged):  # before anything is there: a command that is killed goes on without asking
        echo(note)
    if merged.model_copy(update={"image_files": {}}) != before:  # which are not frozen
        with submission_lock(study_dir):
            before, merged = _merge_with_frozen(study_dir, study)  # another process may have added cells meanwhile
            study_dir.freeze(merged)
    _install_truth(study_dir, merged)
    _install_own_data(study_dir, study)
    return study_dir, merged, len(merged.cells) - (len(before.cells) if before else 0)


def freeze_study(study: Study, root: Path, echo: Echo, *, trust: bool = False) -> tuple[StudyDir, Study, int]:
    """Freeze a study; print notes on changed rules of its verdicts and on missing data. See :func:`freeze`.

    Raises:
        UntrustedError: the folder would run something that this user has not accepted, and does not accept now.
    """
    study_dir = StudyDir(root / study.name)
    if study_dir.path.is_dir():
        study_dir.guard()
        present = study_dir.read_study() if study_dir.is_frozen else study
        require_trust(study_dir, present, accept=trust, echo=echo)
    study_dir, frozen, num_new = freeze(study, root, echo)
    if note := rules_note(frozen, study):
        echo(note)
    for source in frozen.left_out:
        echo(left_out_note(source))
    return study_dir, frozen, num_new


def _install_truth(study_dir: StudyDir, study: Study) -> None:
    """Write a pretrained truth where training would have put it, unless the same bytes are there."""
    if not study.pretrained or study.truth is None:
        return
    path, weights = study_dir.truth_weights(study.truth.id), pretrained_weights(study.pretrained)
    make_folder(path.parent)
    try:
        is_installed = path.exists() and path.read_bytes() == weights
    except OSError as error:
        raise_os_error("read", path, error)
    if not is_installed:
        write_bytes(path, weights)


def _install_own_data(study_dir: StudyDir, study: Study) -> None:
    """Copy the user's own data into the study's folder, which every job can read, unless they are there."""
    used = {data.sha256 for data in study.real_data}
    for sha256, source in study.image_files.items():
        path = study_dir.images(sha256)
        if sha256 not in used or path.exists():  # its digest is proved when it is read
            continue
        content = read_images(Path(source))
        if content.sha256 != sha256:
            raise ConflictError(f"{source} changed while it was read", "run the same command again")
        make_folder(path.parent)
        write_bytes(path, npz_bytes(content))


def _merge_with_frozen(study_dir: StudyDir, study: Study) -> tuple[Study | None, Study]:
    """Return the frozen study, None if there is none, and that study with the new cells."""
    if not study_dir.is_frozen:
        return None, study
    study_dir.guard()
    before = study_dir.read_study()
    return before, extend_study(before, study)
