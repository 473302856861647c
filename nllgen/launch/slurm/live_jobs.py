"""The jobs that the scheduler still has of a study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nllgen.launch.slurm.arrays import COLLECT_STAGE, Stage, is_copy, job_prefix, submissions
from nllgen.launch.slurm.clusters import clusters_of_records, on_cluster, split_names
from nllgen.launch.slurm.commands import query_queue
from nllgen.launch.slurm.queue_lines import Queued
from nllgen.storage.study_dir import StudyDir


@dataclass(frozen=True)
class LiveJobs:
    """The jobs that wait or run for a study."""

    tasks: Mapping[str, str]  # name of a task → state of the job that will run it or runs it
    jobs: Mapping[str, str]  # name of a task → number of that job
    ids: tuple[str, ...]  # with their clusters, such as ``7;alpha``, where those are not the machine's own
    # name of a task → the element, ``<array>_<index>``, that has no other task, with its cluster
    own_elements: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, Queued] = field(default_factory=dict)  # name of a task → the line of squeue that has it
    num_waiting: Mapping[str, int] = field(default_factory=dict)  # job → number of its elements that wait
    num_running: Mapping[str, int] = field(default_factory=dict)  # job → number of its elements that run
    num_unread: int = 0  # number of lines that squeue printed and that are no lines of jobs

    @property
    def clusters(self) -> tuple[str, ...]:
        """Return the clusters that have live jobs."""
        return tuple(dict.fromkeys(line.cluster for line in self.lines.values()))


def query_live_jobs(study_dir: StudyDir, study: str, patience_s: float | None = None, clusters: str = "") -> LiveJobs:
    """Ask the scheduler for a study's jobs, by name: a killed submitter may have noted none of them.

    Args:
        study_dir: of the study.
        study: its name.
        patience_s: seconds to wait for an answer; a default where None.
        clusters: further ones than those of earlier submissions; the machine's own where there are none at all.

    Raises:
        MachineError: the scheduler is missing or does not answer.
    """
    earlier = clusters_of_records(submission.profile for _, submission in submissions(study_dir))
    names = (*earlier, *(split_names(clusters) if clusters or not earlier else ()))
    patience = {} if patience_s is None else {"patience_s": patience_s}
    owner = study_dir.path.stat().st_uid
    queue = query_queue(job_prefix(study), owner, clusters=tuple(dict.fromkeys(names)), **patience)
    return replace(match_jobs(study_dir, study, queue.jobs), num_unread=queue.num_unread)


def match_jobs(study_dir: StudyDir, study: str, jobs: Sequence[Queued]) -> LiveJobs:
    """Find the tasks of a study that jobs of the scheduler belong to.

    A study of the same name elsewhere has other submissions. Jobs of the original do not belong to a copied folder.
    """
    lines: dict[str, Queued] = {}
    own_elements: dict[str, str] = {}
    ids: dict[str, None] = {}
    num_waiting: dict[str, int] = {}
    num_running: dict[str, int] = {}
    for job, stage in _jobs_with_stages(study_dir, study, jobs):
        ids[job.job] = None
        counts = num_waiting if job.is_waiting else num_running
        counts[job.job] = counts.get(job.job, 0) + job.num_elements
        for element, names in _elements_with_tasks(job, stage):
            for name in names:
                if name not in lines or lines[name].state != "RUNNING":  # of several workers, one that runs comes first
                    lines[name] = job
            if len(names) == 1 and not stage.workers:
                own_elements[names[0]] = element
    return LiveJobs(
        tasks={name: line.state for name, line in lines.items()},
        jobs={name: line.id for name, line in lines.items()},
        ids=tuple(ids),
        own_elements=own_elements,
        lines=lines,
        num_waiting=num_waiting,
        num_running=num_running,
    )


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
            number = f"{job.id}_{index}" if job.elements else job.id
            yield on_cluster(number, job.cluster), stage.tasks_of(index)
