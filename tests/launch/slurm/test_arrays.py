"""Grouping of tasks into arrays, and matching of jobs with tasks by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.errors import CorruptFileError
from nllgen.launch.slurm.arrays import (
    ArrayShape,
    Stage,
    Submission,
    SubmissionDir,
    array_predecessors,
    folder_identity,
    group_into_stages,
    submissions,
)
from nllgen.launch.slurm.live_jobs import match_jobs
from nllgen.launch.slurm.queue_lines import Queued
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, TaskKind, tasks_of
from nllgen.study.config import Cell, DataConfig, FlowConfig, NLLConfig, Study


@pytest.fixture
def tasks(tiny: Study, tmp_path: Path) -> list[Task]:
    return tasks_of(tiny, StudyDir(tmp_path / "tiny"))


def cells(tmp_path: Path, number: int) -> list[Task]:
    folder = StudyDir(tmp_path).cell("0" * 16)
    cell = Cell(data=DataConfig(), flow=FlowConfig(), paradigm=NLLConfig())
    return [Task(f"{i:016x}", "", folder, TaskKind.CELL, cell) for i in range(number)]


def sizes(stages: tuple[Stage, ...]) -> list[tuple[str, int]]:
    return [(stage.name, stage.num_elements) for stage in stages]


def test_truth_data_set_and_cells_are_stages_of_their_own(tasks: list[Task]) -> None:
    stages = group_into_stages(tasks, ArrayShape(1, 0), 101, {})
    assert sizes(stages) == [("truth", 1), ("dataset", 1), ("cells0", 1), ("cells1", 2)]
    assert [stage.needs for stage in stages] == [(), ("truth",), (), ("dataset",)]


@pytest.mark.parametrize(
    ("number", "pack", "expected"), [(101, 1, [101]), (102, 1, [101, 1]), (230, 1, [101, 101, 28]), (230, 3, [77])]
)
def test_arrays_are_split_at_the_limit(tmp_path: Path, number: int, pack: int, expected: list[int]) -> None:
    stages = group_into_stages(cells(tmp_path, number), ArrayShape(pack, 0), 101, {})
    assert [stage.num_elements for stage in stages] == expected
    assert [name for stage in stages for name in stage.tasks] == [task.name for task in cells(tmp_path, number)]


@pytest.mark.parametrize(("workers", "expected"), [(2, 2), (9, 5), (200, 5)])
def test_workers_share_one_list_and_are_no_more_than_cells(tmp_path: Path, workers: int, expected: int) -> None:
    (stage,) = group_into_stages(cells(tmp_path, 5), ArrayShape(1, workers), 101, {})
    assert stage.num_elements == expected
    assert stage.tasks_of(0) == stage.tasks_of(expected - 1) == stage.tasks


@pytest.mark.parametrize(("workers", "expected"), [(1, [1, 1]), (2, [1, 1]), (3, [1, 2]), (9, [1, 2])])
def test_workers_are_divided_among_arrays_that_need_different_things(
    tasks: list[Task], workers: int, expected: list[int]
) -> None:
    stages = group_into_stages(tasks, ArrayShape(1, workers), 101, {})
    assert [stage.num_elements for stage in stages if stage.is_cells] == expected


def test_many_workers_are_divided_by_the_numbers_of_cells(tmp_path: Path) -> None:
    some = cells(tmp_path, 100)
    factors = {task.name: 2.0 for task in some[:20]} | {task.name: 4.0 for task in some[20:21]}
    found = [stage.num_elements for stage in group_into_stages(some, ArrayShape(1, 10), 101, factors)]
    assert (sorted(found), sum(found)) == ([1, 1, 8], 10)


def test_cells_with_more_memory_are_an_array_of_their_own(tmp_path: Path) -> None:
    some = cells(tmp_path, 3)
    stages = group_into_stages(some, ArrayShape(1, 0), 101, {some[1].name: 2.0})
    assert [(stage.tasks, stage.memory_factor) for stage in stages] == [
        ((some[0].name, some[2].name), 1.0),
        ((some[1].name,), 2.0),
    ]


def test_a_record_comes_back_as_it_was(tasks: list[Task], tmp_path: Path) -> None:
    stages = group_into_stages(tasks, ArrayShape(2, 0), 101, {})
    where = SubmissionDir(tmp_path)
    where.write(Submission("abc", stages, {"partition": "p"}, {"under": "abc"}))
    assert where.read() == Submission("abc", stages, {"partition": "p"}, {"under": "abc"})


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    where = SubmissionDir(tmp_path)
    where.record.write_text("[]")
    with pytest.raises(CorruptFileError, match=r"submission\.json: not a submission"):
        where.read()


def test_a_folder_without_a_record_was_never_sent(tmp_path: Path) -> None:
    folder = StudyDir(tmp_path)
    (folder.submitit / "abc").mkdir(parents=True)
    assert submissions(folder) == []


@pytest.fixture
def sent(tasks: list[Task], tmp_path: Path) -> StudyDir:
    folder = StudyDir(tmp_path / "tiny")
    where = SubmissionDir(folder.submitit / "abc")
    where.path.mkdir(parents=True)
    where.write(Submission("abc", group_into_stages(tasks, ArrayShape(1, 0), 101, {})))
    return folder


def test_queued_elements_are_tasks(tasks: list[Task], sent: StudyDir) -> None:
    jobs = [
        Queued("5", (), "nllgen:tiny:abc:truth", "RUNNING", ""),
        Queued("7", (1,), "nllgen:tiny:abc:cells1", "PENDING", ""),
        Queued("8", (), "nllgen:tiny:abc:collect", "PENDING", ""),
    ]
    live = match_jobs(sent, "tiny", jobs)
    assert live.tasks == {"truth": "RUNNING", tasks[-1].name: "PENDING", "collect": "PENDING"}
    assert (live.jobs[tasks[-1].name], live.ids) == ("7", ("5", "7", "8"))


def test_jobs_of_a_study_of_the_same_name_elsewhere_are_not_ours(sent: StudyDir) -> None:
    assert match_jobs(sent, "tiny", [Queued("5", (), "nllgen:tiny:other:truth", "RUNNING", "")]).tasks == {}


@pytest.mark.parametrize(("how", "num"), [(shutil.move, 1), (shutil.copytree, 0)])
def test_jobs_follow_a_folder_that_moves_and_are_not_those_of_a_copy(
    tmp_path: Path, tasks: list[Task], how: Callable[[Path, Path], object], num: int
) -> None:
    folder, other = StudyDir(tmp_path / "here" / "tiny"), StudyDir(tmp_path / "there" / "tiny")
    where = SubmissionDir(folder.submitit / "abc")
    where.path.mkdir(parents=True)
    other.path.parent.mkdir()
    submission = Submission("abc", (Stage("cells0", ((tasks[2].name,),)),), options={"place": folder_identity(folder)})
    where.write(submission)
    how(folder.path, other.path)
    job = Queued("7", (0,), submission.job_name("tiny", submission.stages[0]), "PENDING", "")
    assert len(match_jobs(other, "tiny", [job]).tasks) == num


def array(name: str, number: int) -> Stage:
    return Stage(name, tuple((f"{name}-{i}",) for i in range(number)))


@pytest.mark.parametrize(
    ("at_once", "expected"),
    [(2, {"cells1": "cells0", "cells2": "cells1"}), (7, {"cells1": "cells0", "cells2": "cells1"}), (8, {})],
)
def test_arrays_that_are_more_than_may_run_at_once_run_in_turn(at_once: int, expected: dict[str, str]) -> None:
    stages = (array("truth", 1), array("dataset", 1), array("cells0", 3), array("cells1", 4), array("cells2", 1))
    assert array_predecessors(stages, at_once) == expected


def test_one_array_is_limited_by_slurm_itself() -> None:
    assert array_predecessors((array("truth", 1), array("cells0", 50)), 2) == {}
