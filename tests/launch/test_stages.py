"""Stages of a submission: how tasks are grouped, and what is written down before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.errors import CorruptFileError
from nllgen.launch.cluster import match
from nllgen.launch.scheduler import Queued
from nllgen.launch.stages import Stage, Submission, SubmissionDir, stages_for, submissions
from nllgen.launch.submit import freeze
from nllgen.launch.tasks import Task, longest_first, tasks_of
from nllgen.store.atomic import make_folder
from nllgen.store.study_dir import StudyDir, TaskDir
from nllgen.study.config import Study


def cell(number: int, needs: tuple[str, ...] = ("dataset",)) -> Task:
    return Task(f"{number:016x}", "", TaskDir(Path(f"cells/{number:016x}")), needs)


def grouped(tasks: list[Task], pack: int = 1, workers: int = 0, limit: int = 100) -> tuple[Stage, ...]:
    return stages_for(tasks, pack=pack, workers=workers, max_elements=limit, memory_factors={})


def test_stages_follow_what_they_need(tiny: Study, tmp_path: Path) -> None:
    stages = grouped(longest_first(tasks_of(tiny, StudyDir(tmp_path)), tiny))
    assert [(stage.name, stage.needs, stage.num_elements) for stage in stages] == [
        ("truth", (), 1),
        ("dataset", ("truth",), 1),
        ("cells0", (), 1),  # on real data: waits for nothing
        ("cells1", ("dataset",), 2),
    ]


@pytest.mark.parametrize(("num", "pack", "limit", "sizes"), [(7, 1, 3, [3, 3, 1]), (7, 2, 3, [3, 1]), (6, 3, 9, [2])])
def test_arrays_are_split_at_the_limit_and_every_cell_is_in_one_element(
    num: int, pack: int, limit: int, sizes: list[int]
) -> None:
    tasks = [cell(i) for i in range(num)]
    stages = grouped(tasks, pack, 0, limit)
    assert [stage.num_elements for stage in stages] == sizes
    found = [name for stage in stages for i in range(stage.num_elements) for name in stage.tasks_of(i)]
    assert found == [task.name for task in tasks]
    assert len({stage.name for stage in stages}) == len(stages)


def test_workers_share_one_list_and_are_not_more_than_cells() -> None:
    (stage,) = grouped([cell(i) for i in range(5)], workers=8)
    assert (stage.num_elements, stage.workers) == (5, 5)
    assert {stage.tasks_of(i) for i in range(5)} == {tuple(cell(i).name for i in range(5))}


def test_cells_that_need_more_memory_are_an_array_of_their_own() -> None:
    tasks = [cell(0), cell(1)]
    stages = stages_for(tasks, pack=1, workers=0, max_elements=9, memory_factors={tasks[1].name: 4.0})
    assert [(stage.tasks, stage.memory_factor) for stage in stages] == [
        ((tasks[0].name,), 1.0),
        ((tasks[1].name,), 4.0),
    ]


@pytest.fixture
def sent(tiny: Study, tmp_path: Path) -> Callable[[str], Submission]:
    """Writes the record of a submission of all tasks."""
    folder = freeze(tiny, tmp_path)[0]

    def send(name: str) -> Submission:
        record = Submission(name, grouped(longest_first(tasks_of(tiny, folder), tiny)), {"cpus": 1}, {"under": name})
        where = SubmissionDir(folder.submitit / name)
        make_folder(where.path)
        where.write(record)
        return record

    return send


def test_a_record_is_read_as_it_was_written(sent: Callable[[str], Submission], tiny: Study, tmp_path: Path) -> None:
    record = sent("a")
    ((where, found),) = submissions(StudyDir(tmp_path / tiny.name))
    assert (found, where.job_ids()) == (record, {})
    where.add_job("truth", "17")
    assert where.job_ids() == {"truth": "17"}


def test_a_folder_without_a_record_was_never_sent(
    sent: Callable[[str], Submission], tiny: Study, tmp_path: Path
) -> None:
    sent("a")
    folder = StudyDir(tmp_path / tiny.name)
    make_folder(folder.submitit / "b")
    assert [record.name for _, record in submissions(folder)] == ["a"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"name": "a"}', '{"name":"a","stages":[{}],"profile":{},"options":{}}']
)
def test_a_damaged_record_is_refused(sent: Callable[[str], Submission], tiny: Study, tmp_path: Path, text: str) -> None:
    sent("a")
    folder = StudyDir(tmp_path / tiny.name)
    SubmissionDir(folder.submitit / "a").record.write_text(text)
    with pytest.raises(CorruptFileError, match="not a submission"):
        submissions(folder)


def test_what_is_queued_is_found_by_name_alone(sent: Callable[[str], Submission], tiny: Study, tmp_path: Path) -> None:
    """A submitter that was killed after sbatch has noted nothing."""
    record = sent("a")
    jobs = [
        Queued("5", (0,), f"nllgen:tiny:{record.name}:truth", "RUNNING", "node1"),
        Queued("8", (1,), f"nllgen:tiny:{record.name}:cells1", "PENDING", "Dependency"),
        Queued("9", (0,), "nllgen:tiny:another:cells1", "PENDING", "Dependency"),
    ]
    live = match(StudyDir(tmp_path / tiny.name), tiny.name, jobs)
    second = record.stages[3].elements[1][0]
    assert live.tasks == {"truth": "RUNNING", second: "PENDING"}
    assert (live.jobs, live.ids) == ({"truth": "5", second: "8"}, ("5", "8"))
