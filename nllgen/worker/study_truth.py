"""The configuration of a truth from the study that its file lies in."""

from __future__ import annotations

from pathlib import Path

from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Cell


def study_truth(weights: Path) -> Cell | None:
    """Return the truth of the study that a truth.pt lies in; None for a file outside of a study.

    A shipped truth keeps its file, while the study may give it another scale of the base.
    """
    study_dir = StudyDir(weights.absolute().parent.parent.parent)
    truth = study_dir.read_study().truth if study_dir.is_frozen else None
    return truth if truth is not None and truth.id == weights.absolute().parent.name else None
