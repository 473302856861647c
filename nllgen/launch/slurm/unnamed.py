"""Tasks that the scheduler does not name and that may run all the same: silence is not absence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nllgen.launch.lease import LEASE_S, LeaseManager
from nllgen.launch.slurm.commands import own_cluster
from nllgen.launch.slurm.ends import Ends, controller_ends_of, ends_of
from nllgen.launch.slurm.sent_jobs import SentAs, sent_jobs
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task


@dataclass
class _Judge:
    """Asks the scheduler about jobs that squeue does not name, once for each array."""

    jobs: Mapping[str, SentAs]
    leases: LeaseManager = field(default_factory=LeaseManager)
    _ends: dict[tuple[str, str, bool], Ends] = field(default_factory=dict)

    def why_unknown(self, task: Task) -> str:
        """Return why a task may be running; empty if it is known not to."""
        holder, cluster = self.leases.job_of(task.lease)
        if holder and self.leases.is_held(task.lease) and (age_s := self.leases.age_s(task.lease)) <= LEASE_S:
            cluster = "" if cluster.lower() == self._own_cluster else cluster
            if self._has_ended(holder, cluster, with_sacct=True) is not True:
                return f"job {holder} renewed its lease {max(0.0, age_s):.0f} s ago"
        sent = self.jobs.get(task.name)
        if sent and self._has_ended(sent.job, sent.cluster, with_sacct=False) is False:
            return f"the controller has its job {sent.job}"
        return ""

    @cached_property
    def _own_cluster(self) -> str:
        return own_cluster().lower()

    def _has_ended(self, element: str, cluster: str, *, with_sacct: bool) -> bool | None:
        array = element.partition("_")[0]
        key = (array, cluster, with_sacct)
        if key not in self._ends:
            self._ends[key] = (ends_of if with_sacct else controller_ends_of)(array, cluster=cluster)
        return self._ends[key].has_ended(element)


def tasks_that_may_run(study_dir: StudyDir, tasks: Sequence[Task]) -> dict[str, str]:
    """Return name → why, for those tasks without a live job that may be running, and those that need them.

    A lease of a job that was renewed within its time is proof enough, unless Slurm says that the job has ended; so is a
    job that only squeue does not name.
    """
    judge = _Judge(sent_jobs(study_dir) if tasks else {})
    reasons: dict[str, str] = {}
    for task in tasks:  # a task comes after those that it needs
        needed = next((need for need in task.needs if need in reasons), "")
        if reason := f"it needs {needed}" if needed else judge.why_unknown(task):
            reasons[task.name] = reason
    return reasons
