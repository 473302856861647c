"""The numbers of a status: final ones from a result, else those of the last evaluation that a worker reported."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from benchmarks.dummy_worker import small_result
from nllgen.launch.lease import LeaseManager
from nllgen.launch.numbers import Measure, Numbers, numbers_of, sorted_by
from nllgen.launch.retry_policy import DONE, STARTED
from nllgen.launch.status import TaskReport, status, to_json
from nllgen.launch.tasks import record
from nllgen.storage.result import Result, read_final, read_result, write_result
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task
from nllgen.study.config import Study

Row = Callable[[], TaskReport]


def publish(task: Task, result: Result) -> None:
    weights = task.task_dir.model(result.attrs["model_sha256"])
    write_result(task.task_dir.result, result, "a", weights.touch)


def test_final_numbers_are_those_of_the_last_weights(mixed_study: StudyDir) -> None:
    study = mixed_study.read_study()
    for report in status(mixed_study, study):
        if report.name in ("truth", "dataset"):
            continue
        numbers = numbers_of(mixed_study, study, report)
        final = read_result(mixed_study.cell(report.name).result).final
        last = list(final["weights"]).index("last")
        assert numbers.is_final
        assert numbers.values[Measure.NLL] == final["test_nll_nats"][last]
        expected = final["kl_nats"][last] if "kl_nats" in final else math.nan
        assert numbers.values.get(Measure.KL, math.nan) == pytest.approx(expected, nan_ok=True)


def test_the_truths_training_has_numbers_and_its_data_set_none(mixed_study: StudyDir) -> None:
    study = mixed_study.read_study()
    reports = {report.name: report for report in status(mixed_study, study)}
    assert Measure.NLL in numbers_of(mixed_study, study, reports["truth"]).values
    assert numbers_of(mixed_study, study, reports["dataset"]).values == {}


def test_a_running_cell_shows_its_last_evaluation(tiny: Study, folder: StudyDir, task: Task, row: Row) -> None:
    LeaseManager().take(task.lease)
    record(task.attempts, event=STARTED, attempt="1", submission="s")
    measured = {"val_nll_nats": 12.5, "kl_nats": 3.0}
    progress = {"done": 5, "total": 9, "saved": 0, "measured": measured}
    task.task_dir.progress.write_text(json.dumps(progress))
    assert numbers_of(folder, tiny, row()) == Numbers({Measure.NLL: 12.5, Measure.KL: 3.0}, is_final=False)
    assert to_json([row()])["tasks"][0]["measured"] == measured


NO_NUMBERS = ["3", True, [1], 10**400, -(10**400), math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("measured", [3, ["kl_nats"], None, *({"kl_nats": value} for value in NO_NUMBERS)])
def test_a_progress_report_of_another_form_has_no_numbers(
    tiny: Study, folder: StudyDir, task: Task, row: Row, measured: object
) -> None:
    record(task.attempts, event=STARTED, attempt="1", submission="s")
    task.task_dir.progress.write_text(json.dumps({"done": 5, "total": 9, "saved": 0, "measured": measured}))
    assert numbers_of(folder, tiny, row()).values == {}
    assert to_json([row()])["tasks"][0]["measured"] == {}


def test_a_result_that_cannot_be_read_has_no_numbers(tiny: Study, folder: StudyDir, task: Task, row: Row) -> None:
    publish(task, small_result(task.cell))
    report = row()
    task.task_dir.result.unlink()
    assert numbers_of(folder, tiny, report).values == {}


def test_a_run_without_final_numbers_has_none(task: Task) -> None:
    result = small_result(task.cell)
    empty = {name: column[:0] for name, column in result.final.items()}
    publish(task, replace(result, final=empty))
    assert read_final(task.task_dir.result) == {}


def test_the_smallest_number_is_first_and_what_has_none_last() -> None:
    rows = [TaskReport(name, "", TaskStatus.DONE, 1, "") for name in "abcd"]
    values = {"a": {Measure.KL: np.inf}, "b": {}, "c": {Measure.KL: -1.0}, "d": {Measure.KL: 2.0}}
    numbers = {name: Numbers(value, is_final=True) for name, value in values.items()}
    assert [row.name for row in sorted_by(Measure.KL, rows, numbers)] == ["c", "d", "a", "b"]


def test_a_finished_result_that_is_gone_is_called_vanished(task: Task, row: Row) -> None:
    record(task.attempts, event=STARTED, attempt="1", submission="s")
    record(task.attempts, event=DONE, attempt="1", submission="s", at="2026-07-01T12:00:00+00:00")
    assert row().status is TaskStatus.VANISHED
    assert row().detail.startswith("it was done on 2026-07-01T12:00:00+00:00, and result.h5 is gone")


def test_a_result_that_was_moved_aside_has_not_vanished(task: Task, row: Row) -> None:
    record(task.attempts, event=STARTED, attempt="1", submission="s")
    record(task.attempts, event=DONE, attempt="1", submission="s")
    (task.task_dir.path / "result.h5.damaged").write_text("")
    assert row().status is TaskStatus.STOPPED
    assert "moved aside" in row().detail


def was_done(task: Task, at: datetime) -> None:
    record(task.attempts, event=STARTED, attempt="1", submission="s")
    record(task.attempts, event=DONE, attempt="1", submission="s", at=at.isoformat(timespec="seconds"))


def test_a_result_moved_aside_before_the_last_run_does_not_explain_that_it_is_gone(task: Task, row: Row) -> None:
    (task.task_dir.path / "result.h5.damaged").write_text("")
    os.utime(task.task_dir.path / "result.h5.damaged", (0, 0))
    was_done(task, datetime.now(UTC) + timedelta(hours=1))  # the time of a rename is that of its file system alone
    assert row().status is TaskStatus.VANISHED


def test_a_result_moved_aside_after_the_last_run_has_not_vanished(task: Task, row: Row) -> None:
    was_done(task, datetime.now(UTC) - timedelta(hours=1))
    (task.task_dir.path / "result.h5.damaged").write_text("")
    os.utime(task.task_dir.path / "result.h5.damaged", (0, 0))  # the file is older than its rename
    assert row().status is TaskStatus.STOPPED
    assert "moved aside" in row().detail


def test_a_result_that_a_file_server_shows_late_is_looked_for_again(
    task: Task, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    was_done(task, datetime.now(UTC) - timedelta(hours=1))
    monkeypatch.setattr("nllgen.launch.status.refresh", lambda _: publish(task, small_result(task.cell)))
    assert row().status is TaskStatus.DONE


def test_a_result_that_was_made_just_now_has_not_vanished_yet(task: Task, row: Row) -> None:
    was_done(task, datetime.now(UTC))
    assert row().status is TaskStatus.STOPPED
    assert "result.h5 is not seen here yet" in row().detail


@pytest.mark.parametrize("at", ["soon", "0001-01-01T00:00:00", 10**30, None])
def test_a_time_that_cannot_be_read_is_long_ago(task: Task, row: Row, at: object) -> None:
    record(task.attempts, event=STARTED, attempt="1", submission="s")
    record(task.attempts, event=DONE, attempt="1", submission="s", at=at)
    assert row().status is TaskStatus.VANISHED


def test_a_result_that_is_there_has_not_vanished(task: Task, row: Row) -> None:
    record(task.attempts, event=STARTED, attempt="1", submission="s")
    publish(task, small_result(task.cell))
    record(task.attempts, event=DONE, attempt="1", submission="s")
    assert row().status is TaskStatus.DONE
