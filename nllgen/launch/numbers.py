"""The numbers of a task that people ask for first: the final ones, or while it runs those of its last evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from nllgen.errors import NllgenError
from nllgen.launch.status import TaskReport
from nllgen.storage.result import read_final
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import TaskKind
from nllgen.study.config import Study
from nllgen.study.metric_groups import EXTRACTORS


class Measure(StrEnum):
    """Measures that a status shows."""

    NLL = "nll"
    KL = "kl"
    FRECHET = "frechet"


# columns in which a measure is looked for, the first that has a value
COLUMNS: Final = {
    Measure.NLL: ("test_nll_nats", "val_nll_nats"),
    Measure.KL: ("kl_nats",),
    Measure.FRECHET: tuple(f"frechet_{extractor}" for extractor in EXTRACTORS),
}


@dataclass(frozen=True)
class Numbers:
    """The numbers of a task.

    Attributes:
        values: what was measured; a measure that was not is absent.
        is_final: whether they are of the test split, and not of the last evaluation, on validation.
    """

    values: Mapping[Measure, float]
    is_final: bool


def numbers_of(study_dir: StudyDir, study: Study, report: TaskReport) -> Numbers:
    """Read the numbers of one task; a result that cannot be read has none."""
    if report.name == TaskKind.DATASET:
        return Numbers({}, is_final=False)
    if not report.has_result:
        return Numbers(_chosen(report.measured), is_final=False)
    is_truth = report.name == TaskKind.TRUTH and study.truth is not None
    task_dir = study_dir.truth(study.truth.id) if is_truth and study.truth else study_dir.cell(report.name)
    try:
        return Numbers(_chosen(read_final(task_dir.result)), is_final=True)
    except NllgenError:
        return Numbers({}, is_final=True)


def _chosen(row: Mapping[str, float]) -> dict[Measure, float]:
    values = {
        measure: next((row[name] for name in columns if not math.isnan(row.get(name, math.nan))), math.nan)
        for measure, columns in COLUMNS.items()
    }
    return {measure: value for measure, value in values.items() if not math.isnan(value)}


def sorted_by(measure: Measure, rows: Sequence[TaskReport], numbers: Mapping[str, Numbers]) -> list[TaskReport]:
    """Return tasks with the smallest value first, and those without one last, in their order."""

    def key(row: TaskReport) -> tuple[bool, float]:
        value = numbers[row.name].values.get(measure)
        return value is None, value or 0.0

    return sorted(rows, key=key)
