import json
import time

import pytest

from nllgen.planning.cost import cell_cost
from nllgen.planning.plan import TaskFiles, make_plan
from nllgen.study.config import MetricsConfig
from nllgen.study.load import load_study, parse_study

GRID = """
name: small
truth: {flow: {width: 8}, paradigm: {steps: 400}}
cells:
  - data: {source: synthetic, num_train: 100}
    degree: [W, O1]
    paradigm: {name: nll, steps: 1000}
    seed: {range: [0, 2]}
"""


FULL = MetricsConfig()
FRUGAL = MetricsConfig(final=("divergence",), num_samples_every=100)


@pytest.fixture(scope="module")
def study():
    return parse_study(GRID, "g.yaml", precision="fp32")


def row_of(study, found, **rest):
    cell = study.cells[0]
    return next(row for row in make_plan(study, {cell.id: found}, **rest).rows if row.id == cell.id)


def test_the_order_is_truth_dataset_cells(study):
    assert [row.kind for row in make_plan(study, {}).rows] == ["truth", "dataset", "cell", "cell", "cell", "cell"]


@pytest.mark.parametrize(
    ("found", "action", "reason"),
    [
        (TaskFiles("done", "result of 2026-07-01"), "skip", "result of 2026-07-01, done"),
        (TaskFiles("diverged"), "skip", "diverged: a recorded outcome, not run again"),
        (TaskFiles("partial", step=300), "run", "checkpoint at step 300 of 1000: resumes"),
        (TaskFiles("damaged", "truncated"), "run", "result is damaged (truncated): runs again"),
    ],
)
def test_a_reason_is_given_in_words(study, found, action, reason):
    row = row_of(study, found)
    assert (row.action, row.reason) == (action, reason)


def test_a_cell_without_a_folder_runs(study):
    assert {row.reason for row in make_plan(study, {}).rows} == {"no result"}


def test_what_is_skipped_costs_nothing(study):
    assert row_of(study, TaskFiles("done")).seconds == 0


def test_resuming_costs_less_than_starting(study):
    assert row_of(study, TaskFiles("partial", step=900)).seconds < make_plan(study, {}).rows[2].seconds


def test_a_measured_speed_serves_the_truth_and_every_seed_of_the_same_model(study):
    rows = make_plan(study, {study.cells[0].id: TaskFiles("done", seconds_per_step=2.0)}).rows
    assert [row.estimate for row in rows] == ["measured", "analytic", "none", "measured", "analytic", "analytic"]
    assert 2000 < rows[3].seconds < 2200


def test_the_truths_own_folder_is_told_apart(study):
    rows = make_plan(
        study, {}, truth_found=TaskFiles("done"), dataset_found=TaskFiles("partial", "50 of 90 images")
    ).rows
    assert [row.action for row in rows[:3]] == ["skip", "run", "run"]
    assert rows[1].reason == "partial (50 of 90 images): goes on"


def test_a_diverged_truth_is_told(study):
    assert "change the truth" in make_plan(study, {}, truth_found=TaskFiles("diverged")).rows[0].reason


def test_real_data_alone_need_neither_truth_nor_dataset():
    real = parse_study("name: a\ncells: [{flow: {}, paradigm: {name: nll}}]", "g.yaml", precision="fp32")
    assert [row.kind for row in make_plan(real, {}).rows] == ["cell"]


def test_core_hours_are_the_sum_of_the_rows(study):
    plan = make_plan(study, {})
    assert plan.core_hours == pytest.approx(sum(row.seconds for row in plan.rows) / 3600)


def test_the_share_of_evaluations_is_told(study):
    plan, frugal = (make_plan(study.model_copy(update={"metrics": metrics}), {}) for metrics in (FULL, FRUGAL))
    evaluations = [cell_cost(cell, study).eval_seconds for cell in (study.truth, *study.cells)]
    assert plan.evaluation_share == pytest.approx(sum(evaluations) / 3600 / plan.core_hours)
    assert 0 < frugal.evaluation_share < plan.evaluation_share < 1
    assert frugal.core_hours < plan.core_hours
    assert plan.to_json()["evaluation_share"] == plan.evaluation_share
    done = TaskFiles("done")
    nothing = make_plan(study, {cell.id: done for cell in study.cells}, truth_found=done, dataset_found=done)
    assert nothing.evaluation_share == 0


def test_more_cores_shorten_the_wall_time_but_not_the_stages(study):
    one, four, many = (make_plan(study, {}, cores=cores) for cores in (1, 4, 100))
    assert one.wall_seconds == pytest.approx(one.core_hours * 3600)
    assert four.wall_seconds == many.wall_seconds
    first = sum(row.seconds for row in many.rows[:2])
    assert many.wall_seconds == pytest.approx(first + max(row.seconds for row in many.rows[2:]))


def test_a_finished_study_takes_no_time(study):
    done = TaskFiles("done")
    plan = make_plan(study, {cell.id: done for cell in study.cells}, truth_found=done, dataset_found=done)
    assert (plan.num_run, plan.num_skip, plan.wall_seconds) == (0, 6, 0)


def test_a_plan_is_json(study):
    plan = make_plan(study, {}, cores=2)
    back = json.loads(json.dumps(plan.to_json()))
    assert back["num_run"] == 6
    assert back["rows"][2]["id"] == study.cells[0].id


def test_ten_thousand_cells_are_planned_quickly():
    study = parse_study(
        GRID.replace("[0, 2]", "[0, 5000]").replace("cells:", "dataset: {num_train: 500000}\ncells:"),
        "g",
        precision="fp32",
    )
    begin = time.process_time()
    assert len(make_plan(study, {}, cores=2).rows) == 10_002
    assert time.process_time() - begin < 1


def test_smoke_is_planned_within_five_minutes_on_two_cores():
    assert make_plan(load_study("smoke", precision="bf16"), {}, cores=2).wall_seconds < 300
