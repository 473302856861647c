"""Tasks that were sent and that no job has begun: its shell was killed too early to leave a word, or its node died."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nllgen.launch.attempt import record_lost_job
from nllgen.launch.retry_policy import Line
from nllgen.launch.slurm.arrays import submissions
from nllgen.launch.slurm.commands import Ends, ends_of
from nllgen.launch.tasks import read_attempts
from nllgen.storage.atomic import make_folder
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task


@dataclass
class LostJobs:
    """Finds them, where the scheduler has no job for them any more.

    A job that somebody cancelled was not lost. The scheduler is asked once an array.

    Attributes:
        under: submission that failures are counted under.
        elements: task → the element that it was sent as the last time, ``<array>_<index>``; the number of the array
            alone where its elements share their tasks.
    """

    under: str
    elements: Mapping[str, str]
    _ends: dict[str, Ends] = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, folder: StudyDir, under: str) -> LostJobs:
        """Those of a study's submissions under one name; what was not noted as sent is not among them."""
        elements: dict[str, str] = {}
        for where, submission in submissions(folder):  # the newest says it last
            if submission.options.get("under") != under:
                continue
            numbers = where.job_ids()
            for stage in submission.stages:
                number = numbers.get(stage.name, "")
                for index, names in enumerate(stage.elements):
                    elements |= dict.fromkeys(names, number if stage.workers or not number else f"{number}_{index}")
        return cls(under, elements)

    def record_lost(self, task: Task) -> bool:
        """Record a task as lost if it was sent and never begun; returns whether it was.

        Raises:
            MachineError: it cannot be recorded.
        """
        element = self.elements.get(task.name, "")
        if not element or task.stop.exists() or _was_begun(read_attempts(task.attempts), element):
            return False
        if self._was_cancelled(element):
            return False
        make_folder(task.task_dir.path)
        record_lost_job(task, self.under, element)
        return True

    def _was_cancelled(self, element: str) -> bool:
        array = _array(element)
        if array not in self._ends:
            self._ends[array] = ends_of(array)
        found = self._ends[array]
        if "_" not in element:
            return any(state.startswith("CANCELLED") for state in found.states.values())
        # one that waited when it was cancelled is forgotten at once, where others of its array are remembered
        return found.states.get(element, "CANCELLED" if found.are_all else "").startswith("CANCELLED")


def _was_begun(lines: Sequence[Line], element: str) -> bool:
    """Whether a job of this array has left a line, or one was left for it."""
    return any(_array(str(line.get("job", ""))) == _array(element) for line in lines)


def _array(job: str) -> str:
    return job.partition("_")[0]
