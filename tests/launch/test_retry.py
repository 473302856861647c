"""The selection of tasks to retry, and their memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.errors import ConfigError
from nllgen.launch.freeze import freeze
from nllgen.launch.retry import memory_factors, parse_failure_kinds, select
from nllgen.launch.retry_policy import FailureKind
from nllgen.launch.slurm.arrays import Stage, Submission, SubmissionDir
from nllgen.launch.status import TaskReport
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study


@pytest.fixture
def folder(tiny: Study, tmp_path: Path) -> StudyDir:
    return freeze(tiny, tmp_path)[0]


@pytest.fixture
def tasks(tiny: Study, folder: StudyDir) -> list[Task]:
    return tasks_of(tiny, folder)


def rows_of(tasks: list[Task], **states: tuple[str, str]) -> list[TaskReport]:
    """Report all tasks; ``t2=("failed", "crash")`` is the status and kind of the third, the others wait."""
    found = []
    for number, task in enumerate(tasks):
        state, kind = states.get(f"t{number}", ("waiting", ""))
        found.append(
            TaskReport(task.name, task.label, TaskStatus(state), 1, "", kind=FailureKind(kind) if kind else None)
        )
    return found


@pytest.mark.parametrize("word", ["node failure", "node-failure", "Node_Failure"])
def test_a_kind_may_be_typed_with_spaces_or_dashes(word: str) -> None:
    assert parse_failure_kinds([word]) == {FailureKind.NODE_FAILURE}


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean timeout"):
        parse_failure_kinds(["timeuot"])


def test_divergence_is_no_kind_of_failure() -> None:
    with pytest.raises(ConfigError, match="diverged has a result"):
        parse_failure_kinds(["diverged"])


def test_all_that_failed_or_stopped_is_tried_again(tasks: list[Task]) -> None:
    rows = rows_of(tasks, t2=("failed", "crash"), t3=("stopped", "asked"), t4=("done", ""))
    assert select(rows, tasks, (), ()).names == (tasks[2].name, tasks[3].name)


def test_a_kind_picks_among_them(tasks: list[Task]) -> None:
    rows = rows_of(tasks, t2=("failed", "crash"), t3=("failed", "timeout"))
    assert select(rows, tasks, (), {FailureKind.TIMEOUT}).names == (tasks[3].name,)


def test_a_diverged_cell_is_a_result_and_not_tried_again(tasks: list[Task]) -> None:
    again = select(rows_of(tasks, t2=("diverged", "")), tasks, [tasks[2].name], ())
    assert (again.names, "its result" in again.refused[tasks[2].name]) == ((), True)


def test_tasks_that_wait_for_a_failed_truth_are_sent_with_it(tasks: list[Task]) -> None:
    again = select(rows_of(tasks, t0=("failed", "crash")), tasks, (), ())
    assert set(again.waiting) == {"dataset", tasks[3].name, tasks[4].name}


def test_a_task_that_ran_out_of_memory_gets_twice_its_memory(folder: StudyDir, tasks: list[Task]) -> None:
    where = SubmissionDir(folder.submitit / "abc")
    where.path.mkdir(parents=True)
    where.write(Submission("abc", (Stage("cells0", ((tasks[2].name,),), memory_factor=4.0),)))
    again = select(rows_of(tasks, t2=("failed", "out of memory")), tasks, (), ())
    assert memory_factors(again, folder) == {tasks[2].name: 8.0}
