"""Throughput and the time that is left."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nllgen.launch.eta import ThroughputMeter
from nllgen.launch.status import TaskReport
from nllgen.launch.tasks import seconds_of
from nllgen.planning.cost import cell_cost
from nllgen.storage.states import TaskStatus
from nllgen.study.config import Study

NOW = 1_800_000_000.0


def row(study: Study, index: int, state: str, **more: object) -> TaskReport:
    return TaskReport(study.cells[index].id, "", TaskStatus(state), 1, "", **more)  # type: ignore[arg-type]


def test_two_cells_in_half_an_hour_are_four_an_hour(tiny: Study) -> None:
    ends = [datetime.fromtimestamp(NOW - ago, UTC).isoformat() for ago in (1800, 60)]
    rows = [row(tiny, index, "done", finished_at=end) for index, end in enumerate(ends)]
    assert ThroughputMeter(tiny).query(rows, NOW).cells_per_hour == pytest.approx(4)


def test_steps_are_counted_from_one_look_to_the_next(tiny: Study) -> None:
    meter = ThroughputMeter(tiny)
    assert meter.query([row(tiny, 0, "running", step=1, steps=10)], NOW).steps_per_hour is None
    assert meter.query([row(tiny, 0, "running", step=6, steps=10)], NOW + 36).steps_per_hour == pytest.approx(500)


def test_the_time_left_is_the_work_left_over_the_cells_that_run(tiny: Study) -> None:
    seconds = seconds_of(tiny)
    rows = [row(tiny, 1, "running", step=5, steps=10), row(tiny, 2, "waiting")]
    expected = 0.5 * seconds[tiny.cells[1].id] + seconds[tiny.cells[2].id]
    assert ThroughputMeter(tiny).query(rows, NOW).seconds_left == pytest.approx(expected)


def test_the_time_left_is_corrected_by_what_finished_cells_took(tiny: Study) -> None:
    slow = 3 * cell_cost(tiny.cells[0], tiny).seconds_per_step
    rows = [row(tiny, 1, "running")]
    before = ThroughputMeter(tiny).query(rows, NOW).seconds_left
    after = ThroughputMeter(tiny).query([row(tiny, 0, "done", seconds_per_step=slow), *rows], NOW).seconds_left
    assert before is not None
    assert after == pytest.approx(3 * before)


def test_nothing_is_said_of_the_time_left_while_nothing_runs(tiny: Study) -> None:
    assert ThroughputMeter(tiny).query([row(tiny, 0, "waiting")], NOW).seconds_left is None
