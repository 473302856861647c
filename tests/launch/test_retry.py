"""The selection of tasks to retry, and their memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nllgen.errors import ConfigError
from nllgen.launch import retry
from nllgen.launch.freeze import freeze
from nllgen.launch.retry import RetryOptions, memory_factors, parse_failure_kinds, retry_study, select
from nllgen.launch.retry_policy import FailureKind
from nllgen.launch.slurm.arrays import ArrayShape, Stage, Submission, SubmissionDir
from nllgen.launch.slurm.submission import SubmissionRequest, SubmitResult
from nllgen.launch.status import TaskReport
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study
from nllgen.study.run_options import RunOptions


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


@pytest.fixture
def sent(tiny: Study, folder: StudyDir, tasks: list[Task], monkeypatch: pytest.MonkeyPatch) -> list[SubmissionRequest]:
    """Record a failed cell of a submission, and collect the requests that a retry would send."""
    requests: list[SubmissionRequest] = []

    def send(request: SubmissionRequest) -> SubmitResult:
        requests.append(request)
        return SubmitResult(None, {}, 0)

    monkeypatch.setattr(retry, "send", send)
    monkeypatch.setattr(retry, "query_status", lambda *_, **__: (rows_of(tasks, t2=("failed", "crash")), ""))
    return requests


def record_submission(folder: StudyDir, profile: dict[str, Any]) -> None:
    submission_dir = SubmissionDir(folder.submitit / "abc")
    submission_dir.path.mkdir(parents=True)
    config = WorkerConfig(RunOptions(folder.path)).to_record()
    submission_dir.write(Submission("abc", (), profile, {"setup": config, "shape": {"pack": 2, "workers": 0}}))


def test_a_retry_has_the_workers_of_a_new_profile(
    folder: StudyDir, sent: list[SubmissionRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    record_submission(folder, {})
    monkeypatch.setenv("SBATCH_ACCOUNT", "ml")
    (folder.path / "p.yaml").write_text("workers: 3\n")
    lines: list[str] = []
    options = RetryOptions(folder.path, profile=str(folder.path / "p.yaml"))
    retry_study(folder, options, lines.append, lines.append)
    (request,) = sent
    assert (request.shape, request.profile.account) == (ArrayShape(2, 3), "ml")
    assert any("SBATCH_ACCOUNT" in line for line in lines)


def test_a_recorded_profile_counts_before_the_shell(
    folder: StudyDir, sent: list[SubmissionRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    record_submission(folder, {"qos": "long"})
    monkeypatch.setenv("SBATCH_ACCOUNT", "ml")
    retry_study(folder, RetryOptions(folder.path), lambda text: None, lambda text: None)
    (request,) = sent
    assert (request.shape.workers, request.profile.qos, request.profile.account) == (0, "long", None)


def test_a_recorded_profile_with_options_refused_by_now_asks_for_another(
    folder: StudyDir, sent: list[SubmissionRequest]
) -> None:
    record_submission(folder, {"sbatch": {"gres": "gpu:1"}})
    with pytest.raises(ConfigError, match=r"(?s)last submission cannot be used.*asks for GPUs.*add --profile"):
        retry_study(folder, RetryOptions(folder.path), lambda text: None, lambda text: None)
    assert sent == []
