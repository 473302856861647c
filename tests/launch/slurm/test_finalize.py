"""The memory with which a failed task is sent again."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.launch.retry_policy import FAILED, STARTED
from nllgen.launch.slurm.arrays import Stage, Submission, SubmissionDir, last_memory_factors
from nllgen.launch.slurm.finalize import retry_factor
from nllgen.launch.tasks import record
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study


@pytest.fixture
def task(tiny: Study, tmp_path: Path) -> Task:
    return tasks_of(tiny, StudyDir(tmp_path / "tiny"))[2]


def fails(task: Task, kind: str, under: str = "one") -> None:
    task.task_dir.path.mkdir(parents=True, exist_ok=True)
    for event in (STARTED, FAILED):
        record(task.attempts, event=event, attempt="a", submission=under, kind=kind, exit_code=1)


@pytest.mark.parametrize(("kind", "factor"), [("out of memory", 8.0), ("node failure", 4.0), ("config", 0.0)])
def test_memory_doubles_only_after_a_lack_of_memory(task: Task, kind: str, factor: float) -> None:
    fails(task, kind)
    assert retry_factor(task, "one", previous_factor=4.0) == factor


def test_memory_is_doubled_twice_and_no_more(task: Task) -> None:
    found = []
    had = 1.0
    for _ in range(4):
        fails(task, "out of memory")
        found.append(retry_factor(task, "one", had))
        had = found[-1]
    assert found == [2.0, 4.0, 0.0, 0.0]


def test_the_newest_submission_has_the_last_memory_factor(tmp_path: Path) -> None:
    folder = StudyDir(tmp_path)
    for name, factor in (("one", 2.0), ("two", 4.0)):
        where = SubmissionDir(folder.submitit / name)
        where.path.mkdir(parents=True)
        where.write(Submission(name, (Stage("cells0", (("a",),), memory_factor=factor),)))
    assert last_memory_factors(folder) == {"a": 4.0}
