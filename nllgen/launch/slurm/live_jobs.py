"""The jobs that the scheduler still has of a study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nllgen.launch.slurm.arrays import COLLECT_STAGE, Stage, is_copy, job_prefix, submissions
from nllgen.launch.slurm.commands import Queued, queued
from nllgen.storage.study_dir import StudyDir


@dataclass(frozen=True)
class LiveJobs:
    """The jobs that wait or run for a study."""

    tasks: Mapping[str, str]  # name of a task → state of the job that will run it or runs it
    jobs: Mapping[str, str]  # name of a task → number of that job
    ids: tuple[str, ...]
    # name of a task → the element, ``<array>_<index>``, that has no other task
    own_elements: Mapping[str, str] = field(default_factory=dict)


def query_live_jobs(study_dir: StudyDir, study: str, patience_s: float | None = None) -> LiveJobs:
    """Ask the scheduler for a study's jobs, by name: a killed submitter may have noted none of them.

    Raises:
        MachineError: the scheduler is missing or does not answer.
    """
    patience = {} if patience_s is None else {"patience_s": patience_s}
    return match_jobs(study_dir, study, queued(job_prefix(study), study_dir.path.stat().st_uid, **patience))


def match_jobs(study_dir: StudyDir, study: str, jobs: Sequence[Queued]) -> LiveJobs:
    """Find the tasks of a study that jobs of the scheduler belong to.

    A study of the same name elsewhere has other submissions. Jobs of the original do not belong to a copied folder.
    """
    tasks: dict[str, str] = {}
    numbers: dict[str, str] = {}
    ids: dict[str, None] = {}
    own_elements: dict[str, str] = {}
    for job, stage in _jobs_with_stages(study_dir, study, jobs):
        ids[job.id] = None
        for element, names in _elements_with_tasks(job, stage):
            for name in names:
                if tasks.get(name) != "RUNNING":  # of several workers that may run it, one that runs comes first
                    tasks[name], numbers[name] = job.state, job.id
            if len(names) == 1 and not stage.workers:
                own_elements[names[0]] = element
    return LiveJobs(tasks, numbers, tuple(ids), own_elements)


def _jobs_with_stages(study_dir: StudyDir, study: str, jobs: Sequence[Queued]) -> Iterator[tuple[Queued, Stage]]:
    by_name: dict[str, list[Queued]] = defaultdict(list)
    for job in jobs:
        by_name[job.name].append(job)
    for _, submission in submissions(study_dir):
        if not is_copy(study_dir, submission):
            for stage in (*submission.stages, COLLECT_STAGE):
                for job in by_name.get(submission.job_name(study, stage), ()):
                    yield job, stage


def _elements_with_tasks(job: Queued, stage: Stage) -> Iterator[tuple[str, tuple[str, ...]]]:
    indices = job.elements or (0,)
    if stage.workers:
        indices = job.elements[:1]  # all elements have the same tasks
    for index in indices:
        if index < stage.num_elements:
            yield (f"{job.id}_{index}" if job.elements else job.id), stage.tasks_of(index)
