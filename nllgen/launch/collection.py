"""The collection of a study whose tasks are all done: whether study.h5 has their results."""

from __future__ import annotations

from collections.abc import Sequence

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


def _lacks_results(study_dir: StudyDir) -> bool:
    collected_ns = modified_ns(study_dir.path / "study.h5")
    results = (*study_dir.path.glob("cells/*/result.h5"), *study_dir.path.glob("truths/*/result.h5"))
    return not collected_ns or any(modified_ns(path) > collected_ns for path in results)


def collection_note(study_dir: StudyDir, rows: Sequence[TaskReport], trouble: str) -> str:
    """Return that all tasks are done and study.h5 lacks them, why, and what to do; empty where it does not apply.

    ``trouble`` is why the scheduler gave no answer; it is not asked again then.
    """
    if not all(row.has_result for row in rows) or not _lacks_results(study_dir):
        return ""
    state = "is older than some of them" if (study_dir.path / "study.h5").exists() else "is not there"
    ends = EarlyEnds(study_dir)
    sent = None if trouble else ends.jobs.get(COLLECT)
    end = ends.end_of_job(sent, when="") if sent else None
    why = f" (its collection: {end.reason})" if end else ""
    again = "; submitting again sends the collection" if ends.jobs else ""
    return f"all tasks have a result, and study.h5 {state}{why}: nllgen collect {study_dir.path} writes it{again}"
