"""Stages of a submission, one sbatch each, and the record of them that is written before any is sent."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from nllgen.errors import CorruptFileError
from nllgen.launch.executables import Executable, of_jobs
from nllgen.launch.executables import record as record_trust
from nllgen.launch.tasks import read_attempts, record
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.atomic import write_bytes
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, TaskKind
from nllgen.storage.untrusted import parse_untrusted_json
from nllgen.study.untrusted_files import read_regular
from nllgen.study.validation import one_line

COLLECT = "collect"
# largest number of jobs that a study has beside those of its cells: truth, data set, collection, and the earlier
# collection that sends these again
JOBS_BESIDE_CELLS = 4
_CELLS = "cells"

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class ArrayShape:
    """The distribution of cells over array elements."""

    pack: int = 1  # cells that run at once in one element
    # number of elements, over all arrays, that lease cells from a list until none is left; 0 gives each element its own
    # cells
    workers: int = 0


@dataclass(frozen=True)
class Stage:
    """One array, or one job."""

    name: str  # unique within the submission
    # names of the tasks of each element; with ``workers``, a single list for all elements
    elements: tuple[tuple[str, ...], ...]
    needs: tuple[str, ...] = ()  # names of tasks that must be done before
    workers: int = 0  # number of elements that lease from the single list; 0 if each element has its own tasks
    memory_factor: float = 1.0  # multiple of the profile's memory that an element gets
    delay_s: int = 0  # seconds after the submission before which it does not start

    @property
    def is_cells(self) -> bool:
        """Return True for an array of cells."""
        return self.name.startswith(_CELLS)

    @property
    def num_elements(self) -> int:
        """Return the number of elements of its array."""
        return self.workers or len(self.elements)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the names of all its tasks."""
        return tuple(name for names in self.elements for name in names)

    def tasks_of(self, element: int) -> tuple[str, ...]:
        """Return the names of the tasks that an element may run."""
        return self.elements[0 if self.workers else element] if self.elements else ()


COLLECT_STAGE = Stage(COLLECT, ((COLLECT,),))


@dataclass(frozen=True)
class Submission:
    """The record of a submission."""

    name: str  # unique among the submissions of all studies; part of the names of its jobs
    stages: tuple[Stage, ...]  # in the order of sending
    profile: dict[str, Any] = field(default_factory=dict)  # profile of the cluster, plain values
    # worker configuration, array shape and the like, plain values
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def charged_to(self) -> str:
        """Return the submission that its failures are charged to: itself, or the one that it retries tasks of."""
        return str(self.options.get("under", self.name))

    @property
    def shape(self) -> ArrayShape:
        """Return the distribution of cells over elements."""
        return ArrayShape(**self.options["shape"])

    @property
    def worker_config(self) -> WorkerConfig:
        """Return the configuration of the workers, without a program: a record is data and names nothing to run.

        Raises:
            NllgenError: the record is damaged, or of another version.
        """
        return WorkerConfig.from_record(self.options.get("setup", {}))

    @property
    def notify(self) -> str:
        """Return the command that its user is told by at the end; empty without one."""
        return str(self.options.get("notify", ""))

    def executable(self, place: str = "") -> Executable:
        """Return the jobs that a retry would submit again as this submission did; ``place`` names the record's file."""
        return of_jobs(self.profile, self.options.get("setup"), place)

    def job_name(self, study: str, stage: Stage) -> str:
        """Return the job name of a stage, by which its jobs are recognised even if nothing was noted."""
        return f"{job_prefix(study)}{self.name}:{stage.name}"


_SUBMISSION = TypeAdapter(Submission)


def job_prefix(study: str) -> str:
    """Return the prefix of the names of a study's jobs."""
    return f"nllgen:{study}:"


def group_into_stages(
    tasks: Sequence[Task],
    shape: ArrayShape,
    max_elements: int,
    memory_factors: Mapping[str, float],
    delays_s: Mapping[str, int] | None = None,
) -> tuple[Stage, ...]:
    """Group tasks, the longest first, into stages whose arrays have at most ``max_elements`` elements.

    The multiples of the profile's memory are those of tasks for which they are not 1, the delays those of tasks that
    are to wait.
    """
    stages: list[Stage] = []
    num_arrays = itertools.count()
    groups = _groups(tasks, memory_factors, delays_s or {})
    workers = iter(_divided(shape.workers, [len(names) for (kind, *_), names in groups if kind is TaskKind.CELL]))
    for (kind, needs, factor, delay_s), names in groups:
        if kind is not TaskKind.CELL:
            stages.append(Stage(str(kind), (tuple(names),), needs, 0, factor, delay_s))
        elif shape.workers:
            num_workers = min(next(workers), max_elements)
            stages.append(Stage(f"{_CELLS}{next(num_arrays)}", (tuple(names),), needs, num_workers, factor, delay_s))
        else:
            for elements in _chunks([*_chunks(names, shape.pack)], max_elements):
                stages.append(Stage(f"{_CELLS}{next(num_arrays)}", elements, needs, 0, factor, delay_s))
    return tuple(stages)


_GroupKey = tuple[TaskKind, tuple[str, ...], float, int]


def _groups(
    tasks: Sequence[Task], memory_factors: Mapping[str, float], delays_s: Mapping[str, int]
) -> list[tuple[_GroupKey, list[str]]]:
    """Group tasks that may share an array, by kind, needs, memory factor and delay; in the order of sending."""
    groups: dict[_GroupKey, list[str]] = {}
    for task in tasks:
        key = (task.kind, task.needs, memory_factors.get(task.name, 1.0), delays_s.get(task.name, 0))
        groups.setdefault(key, []).append(task.name)
    return sorted(groups.items(), key=lambda item: (list(TaskKind).index(item[0][0]), item[0]))


def _divided(num_workers: int, sizes: Sequence[int]) -> list[int]:
    """Divide workers among lists of cells by their lengths, such that each list has one and none has too many."""
    shares: list[int] = []
    for index, size in enumerate(sizes):
        num_lists_after = len(sizes) - index - 1
        share = round(num_workers * size / sum(sizes[index:]))
        shares.append(max(1, min(share, num_workers - num_lists_after, size)))
        num_workers -= shares[-1]
    return shares


def _chunks(items: Sequence[_Item], size: int) -> Iterator[tuple[_Item, ...]]:
    for start in range(0, len(items), size):
        yield tuple(items[start : start + size])


def array_predecessors(stages: Sequence[Stage], parallelism: int) -> dict[str, str]:
    """Return the arrays of cells that must wait for another one, because Slurm limits each array by itself.

    Args:
        stages: stages of one submission, in the order of sending.
        parallelism: largest number of elements that may run at once.

    Returns:
        Name of an array → name of the array before it. Empty if all arrays together stay within the limit.
    """
    arrays = [stage for stage in stages if stage.is_cells]
    if sum(min(stage.num_elements, parallelism) for stage in arrays) <= parallelism:
        return {}
    return {later.name: earlier.name for earlier, later in itertools.pairwise(arrays)}


@dataclass(frozen=True)
class SubmissionDir:
    """The folder ``<study>/submitit/<submission>``."""

    path: Path

    @property
    def record(self) -> Path:
        """Return the path of submission.json, which is written before anything is sent."""
        return self.path / "submission.json"

    @property
    def jobs(self) -> Path:
        """Return the path of jobs.jsonl, the jobs that the scheduler has accepted.

        A killed submitter may have noted fewer than the scheduler has.
        """
        return self.path / "jobs.jsonl"

    def write(self, submission: Submission) -> None:
        """Write the record; this user trusts it from now on, before a killed command could leave it."""
        record_trust(submission.executable(str(self.record)))  # without a place for that, a later command asks
        write_bytes(self.record, json.dumps(asdict(submission)).encode())

    def add_job(self, stage: str, job_id: str, cluster: str = "") -> None:
        """Append a job that the scheduler has accepted, with its cluster if that is not the machine's own."""
        record(self.jobs, stage=stage, job=job_id, **({"cluster": cluster} if cluster else {}))

    def job_ids(self) -> dict[str, str]:
        """Return stage → number of its job, for the stages that were noted."""
        return {str(line.get("stage")): str(line.get("job")) for line in read_attempts(self.jobs)}

    def job_clusters(self) -> dict[str, str]:
        """Return number of a job → its cluster, for jobs on other clusters than the machine's own."""
        return {str(line["job"]): str(line["cluster"]) for line in read_attempts(self.jobs) if line.get("cluster")}

    def read(self) -> Submission:
        """Read the record.

        Raises:
            CorruptFileError: it is damaged.
        """
        try:
            return _SUBMISSION.validate_python(parse_untrusted_json(read_regular(self.record)))
        except (OSError, ValueError, RecursionError) as error:
            raise CorruptFileError(
                f"{self.record}: not a submission ({one_line(error)})",
                "move its folder out of the study, for example into your home; no job that runs needs it",
            ) from error


def submissions(study_dir: StudyDir) -> list[tuple[SubmissionDir, Submission]]:
    """Return all submissions of a study, the oldest first; a folder without a record was never sent."""
    dirs = []
    with contextlib.suppress(OSError), os.scandir(study_dir.submitit) as entries:
        for entry in entries:
            submission_dir = SubmissionDir(Path(entry.path))
            if submission_dir.record.exists():
                dirs.append((submission_dir.record.stat().st_mtime_ns, submission_dir))
    return [(submission_dir, submission_dir.read()) for _, submission_dir in sorted(dirs, key=lambda item: item[0])]


def newest_submission(study_dir: StudyDir) -> Submission | None:
    """Return the record of the newest submission; None if nothing was sent to a cluster."""
    records = submissions(study_dir)
    return records[-1][1] if records else None


def is_copy(study_dir: StudyDir, submission: Submission) -> bool:
    """Return True if a folder is a copy of the one that was submitted; the scheduler's jobs do not belong to it."""
    submitted = submission.options.get("place")
    if not isinstance(submitted, dict):
        return False
    current = folder_identity(study_dir)
    # both must differ: machines may mount one disk under two names, and some file systems renumber a folder
    return bool(submitted.get("path") != current["path"] and submitted.get("inode") != current["inode"])


def folder_identity(study_dir: StudyDir) -> dict[str, Any]:
    """Return the path and the inode by which a folder is told from its copies."""
    return {"path": str(study_dir.path.resolve()), "inode": study_dir.path.stat().st_ino}


def last_memory_factors(study_dir: StudyDir) -> dict[str, float]:
    """Return task → multiple of the profile's memory in its newest submission, for tasks that were ever submitted."""
    factors: dict[str, float] = {}
    for _, submission in submissions(study_dir):  # newer ones replace older ones
        for stage in submission.stages:
            factors |= dict.fromkeys(stage.tasks, stage.memory_factor)
    return factors
