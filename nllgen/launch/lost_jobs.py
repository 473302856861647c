"""Lost jobs: tasks that were sent but never started, because their job died too early to record anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nllgen.launch.attempt import record_lost_job
from nllgen.launch.retry_policy import array_of
from nllgen.launch.slurm.arrays import submissions
from nllgen.launch.slurm.commands import Ends, ends_of
from nllgen.launch.tasks import read_attempts
from nllgen.storage.atomic import make_folder
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task


@dataclass
class LostJobs:
    """Finds lost jobs among tasks for which the scheduler has no job any more.

    A cancelled job is not lost. The scheduler is asked once for each array.

    Attributes:
        charged_to: submission that failures are charged to.
        elements: task → the element, ``<array>_<index>``, that it was last sent as; only the number of the array if
            its elements share their tasks.
    """

    charged_to: str
    elements: Mapping[str, str]
    _ends: dict[str, Ends] = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, study_dir: StudyDir, charged_to: str) -> LostJobs:
        """Read the elements of all submissions that are charged to one; jobs that were not noted are left out."""
        elements: dict[str, str] = {}
        for submission_dir, submission in submissions(study_dir):  # newer ones replace older ones
            if submission.charged_to != charged_to:
                continue
            numbers = submission_dir.job_ids()
            for stage in submission.stages:
                number = numbers.get(stage.name, "")
                for index, names in enumerate(stage.elements):
                    elements |= dict.fromkeys(names, number if stage.workers or not number else f"{number}_{index}")
        return cls(charged_to, elements)

    def record_lost(self, task: Task) -> bool:
        """Record a task as lost if it was sent and never started; return True if it was recorded.

        Raises:
            MachineError: it cannot be recorded.
        """
        element = self.elements.get(task.name, "")
        array = element.partition("_")[0]
        # a line by a job of the array, or one for it that says it was lost
        has_line = any(array_of(line) == array for line in read_attempts(task.attempts))
        if not element or task.stop.exists() or has_line or self._was_cancelled(element, array):
            return False
        make_folder(task.task_dir.path)
        record_lost_job(task, self.charged_to, element)
        return True

    def _was_cancelled(self, element: str, array: str) -> bool:
        if array not in self._ends:
            self._ends[array] = ends_of(array)
        ends = self._ends[array]
        if "_" not in element:
            return any(state.startswith("CANCELLED") for state in ends.states.values())
        # an element that is cancelled while it waits is forgotten at once, other elements of its array are not
        return ends.states.get(element, "CANCELLED" if ends.are_all else "").startswith("CANCELLED")
