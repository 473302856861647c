"""A submission's stages: one sbatch each, with what its elements run, written down before the first is sent."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nllgen.errors import CorruptFileError
from nllgen.launch.tasks import read_attempts, record
from nllgen.storage.atomic import write_bytes
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task
from nllgen.storage.untrusted import parse_untrusted_json, read_regular

COLLECT = "collect"
_KINDS = ("truth", "dataset", "cells")


@dataclass(frozen=True)
class Stage:
    """One array, or one job.

    Attributes:
        name: within the submission.
        elements: names of the tasks of each element; with ``workers`` there is one list, for all of them.
        needs: names of tasks that must be done before.
        workers: elements that all lease from one list; 0 where each has its own.
        memory_factor: how many times the memory that the profile says.
    """

    name: str
    elements: tuple[tuple[str, ...], ...]
    needs: tuple[str, ...] = ()
    workers: int = 0
    memory_factor: float = 1.0

    @property
    def num_elements(self) -> int:
        """Of its array."""
        return self.workers or len(self.elements)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of all its tasks."""
        return tuple(name for names in self.elements for name in names)

    def tasks_of(self, element: int) -> tuple[str, ...]:
        """What an element may run."""
        return self.elements[0 if self.workers else element] if self.elements else ()


@dataclass(frozen=True)
class Submission:
    """What was sent, or was about to be.

    Attributes:
        name: unique among those of all studies, and in the names of its jobs.
        stages: in the order of sending.
        profile: as it was then, plain values.
        options: how workers are started, plain values.
    """

    name: str
    stages: tuple[Stage, ...]
    profile: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def job_name(self, study: str, stage: Stage) -> str:
        """The name by which a job is found again, whoever was killed when."""
        return f"{job_prefix(study)}{self.name}:{stage.name}"


def job_prefix(study: str) -> str:
    """How the names of a study's jobs begin."""
    return f"nllgen:{study}:"


def stages_for(
    tasks: Sequence[Task], *, pack: int, workers: int, max_elements: int, memory_factors: Mapping[str, float]
) -> tuple[Stage, ...]:
    """Group tasks into arrays.

    Args:
        tasks: that are to run, the longest first.
        pack: cells of one element.
        workers: elements that lease from one list; 0 gives each element its own cells.
        max_elements: of one array.
        memory_factors: task → how many times the memory it needs, where not once.
    """
    groups: dict[tuple[str, tuple[str, ...], float], list[str]] = {}
    for task in tasks:
        kind = task.name if task.name in ("truth", "dataset") else "cells"
        groups.setdefault((kind, task.needs, memory_factors.get(task.name, 1.0)), []).append(task.name)
    stages: list[Stage] = []
    for (kind, needs, factor), names in sorted(groups.items(), key=lambda item: (_KINDS.index(item[0][0]), item[0])):
        if workers and kind == "cells":
            parts: list[tuple[tuple[str, ...], ...]] = [(tuple(names),)]
        else:
            packed = [tuple(names[i : i + pack]) for i in range(0, len(names), pack)]
            parts = [tuple(packed[i : i + max_elements]) for i in range(0, len(packed), max_elements)]
        for elements in parts:
            number = sum(stage.name.startswith(kind) for stage in stages)
            name = kind if kind != "cells" else f"cells{number}"
            num = min(workers, len(names), max_elements) if workers and kind == "cells" else 0
            stages.append(Stage(name, elements, needs, num, factor))
    return tuple(stages)


def array_turns(stages: Sequence[Stage], at_once: int) -> dict[str, str]:
    """Arrays of cells that have to wait for another to end, because Slurm limits what runs at once an array each.

    Args:
        stages: of one submission, in the order of sending.
        at_once: elements that may run at the same time.

    Returns:
        Name of an array → that of the array before it; empty where all of them together stay within the limit.
    """
    arrays = [stage for stage in stages if stage.name.startswith("cells")]
    if sum(min(stage.num_elements, at_once) for stage in arrays) <= at_once:
        return {}
    return {later.name: earlier.name for earlier, later in itertools.pairwise(arrays)}


@dataclass(frozen=True)
class SubmissionDir:
    """``<study>/submitit/<submission>``."""

    path: Path

    @property
    def record(self) -> Path:
        """submission.json: what is to be sent; there before anything is."""
        return self.path / "submission.json"

    @property
    def jobs(self) -> Path:
        """jobs.jsonl: what the scheduler has taken; a submitter that is killed may leave it behind the truth."""
        return self.path / "jobs.jsonl"

    def write(self, submission: Submission) -> None:
        """Put the record on the disk."""
        write_bytes(self.record, json.dumps(asdict(submission)).encode())

    def add_job(self, stage: str, job_id: str) -> None:
        """Note what the scheduler has taken."""
        record(self.jobs, stage=stage, job=job_id)

    def job_ids(self) -> dict[str, str]:
        """Stage → number of its job, as far as it was noted."""
        return {str(line.get("stage")): str(line.get("job")) for line in read_attempts(self.jobs)}

    def read(self) -> Submission:
        """The record.

        Raises:
            CorruptFileError: it is damaged.
        """
        try:
            value = parse_untrusted_json(read_regular(self.record))
            stages = tuple(
                Stage(
                    str(stage["name"]),
                    tuple(tuple(map(str, names)) for names in stage["elements"]),
                    tuple(map(str, stage["needs"])),
                    int(stage["workers"]),
                    float(stage["memory_factor"]),
                )
                for stage in value["stages"]
            )
            return Submission(str(value["name"]), stages, dict(value["profile"]), dict(value["options"]))
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise CorruptFileError(f"{self.record}: not a submission ({error})", "remove its folder") from error


def submissions(folder: StudyDir) -> list[tuple[SubmissionDir, Submission]]:
    """All that were sent, the oldest first; what a killed submitter left without a record was never sent."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder.submitit) as entries:
        for entry in entries:
            path = SubmissionDir(Path(entry.path))
            if path.record.exists():
                found.append((path.record.stat().st_mtime_ns, path))
    return [(path, path.read()) for _, path in sorted(found, key=lambda item: item[0])]


def is_copy(folder: StudyDir, submission: Submission) -> bool:
    """Whether a folder is another than the one that was submitted: the scheduler's jobs are not about it."""
    was = submission.options.get("place")
    if not isinstance(was, dict):
        return False
    now = place_of(folder)
    # machines may mount one disk under two names, and some file systems number a folder anew: either alone says nothing
    return bool(was.get("path") != now["path"] and was.get("inode") != now["inode"])


def place_of(folder: StudyDir) -> dict[str, Any]:
    """What tells a folder from its copies."""
    return {"path": str(folder.path.resolve()), "inode": folder.path.stat().st_ino}


def memory_factors_had(folder: StudyDir) -> dict[str, float]:
    """Task → how many times the profile's memory it was sent with the last time; those that were sent to a cluster."""
    had: dict[str, float] = {}
    for _, submission in submissions(folder):  # the newest says it last
        for stage in submission.stages:
            had |= dict.fromkeys(stage.tasks, stage.memory_factor)
    return had
