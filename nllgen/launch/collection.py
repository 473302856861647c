"""The collection of a study whose tasks are all done: whether study.h5 has their results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from nllgen.launch.attempt import modified_ns
from nllgen.launch.slurm.arrays import COLLECT
from nllgen.launch.slurm.early_ends import EarlyEnds
from nllgen.launch.status import TaskReport
from nllgen.storage.states import Expected, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import tasks_of
from nllgen.study.config import Study


def is_uncollected(study_dir: StudyDir, study: Study) -> bool:
    """Return True if every task has a result, and study.h5 is not there or is older than one of them."""
    expected = Expected.of(study, study_dir)
    tasks = tasks_of(study, study_dir)
    return all(inspect(task, expected).state.is_done for task in tasks) and _lacks_results(study_dir)


def is_behind(study_dir: StudyDir) -> bool:
    """Return True if study.h5 is not there, or is older than a result, a metric measured later or a new cell."""
    later = (study_dir.manifest, *study_dir.path.glob("*/*/metrics.*.h5"))
    return _lacks_results(study_dir) or _is_older(study_dir, later)


def has_result(study_dir: StudyDir) -> bool:
    """Return True if a cell has a result, whatever it is worth."""
    return next(study_dir.path.glob("cells/*/result.h5"), None) is not None


def _lacks_results(study_dir: StudyDir) -> bool:
    results = (*study_dir.path.glob("cells/*/result.h5"), *study_dir.path.glob("truths/*/result.h5"))
    return not study_dir.collected.exists() or _is_older(study_dir, results)


def _is_older(study_dir: StudyDir, paths: Iterable[Path]) -> bool:
    collected_ns = modified_ns(study_dir.collected)
    return any(modified_ns(path) > collected_ns for path in paths)


def collection_note(study_dir: StudyDir, rows: Sequence[TaskReport], trouble: str) -> str:
    """Return that all tasks are done and study.h5 lacks them, why, and what to do; empty where it does not apply.

    ``trouble`` is why the scheduler gave no answer; it is not asked again then.
    """
    if not all(row.has_result for row in rows) or not _lacks_results(study_dir):
        return ""
    state = "is older than some of them" if study_dir.collected.exists() else "is not there"
    ends = EarlyEnds(study_dir)
    sent = None if trouble else ends.jobs.get(COLLECT)
    end = ends.end_of_job(sent, when="") if sent else None
    why = f" (its collection: {end.reason})" if end else ""
    again = "; submitting again sends the collection" if ends.jobs else ""
    return f"all tasks have a result, and study.h5 {state}{why}: nllgen collect {study_dir.path} writes it{again}"
