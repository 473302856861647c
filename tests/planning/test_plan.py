"""Which tasks a plan runs, why, and what they cost."""

import json
import time
from dataclasses import replace

import pytest

from nllgen.planning.calibration import SHIPPED, KnownCalibration
from nllgen.planning.cost import cell_cost
from nllgen.planning.gpu import CORES_PER_GPU, gpu_memory_gb
from nllgen.planning.plan import PlanRow, make_plan
from nllgen.planning.reasons import ContainerRule
from nllgen.storage.states import ResultState, TaskFiles
from nllgen.study.config import MetricsConfig, Study
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
def study() -> Study:
    return parse_study(GRID, "g.yaml", precision="fp32")


def row_of(study: Study, files: TaskFiles, container: ContainerRule | None = None) -> PlanRow:
    cell = study.cells[0]
    return next(row for row in make_plan(study, {cell.id: files}, container=container).rows if row.id == cell.id)


def test_the_order_is_truth_dataset_cells(study: Study) -> None:
    assert [row.kind for row in make_plan(study, {}).rows] == ["truth", "dataset", "cell", "cell", "cell", "cell"]


@pytest.mark.parametrize(
    ("files", "action", "reason"),
    [
        (TaskFiles(ResultState.COMPLETE, "result of 2026-07-01"), "skip", "result of 2026-07-01, done"),
        (TaskFiles(ResultState.DIVERGED), "skip", "diverged: a recorded outcome, not run again"),
        (TaskFiles(ResultState.PARTIAL, step=300), "run", "checkpoint at step 300 of 1000: resumes"),
        (TaskFiles(ResultState.DAMAGED, "truncated"), "run", "result is damaged (truncated): runs again"),
        (TaskFiles(ResultState.STALE, "old truth"), "run", "old truth: does not count, runs again"),
        (TaskFiles(ResultState.LOCKED, "EIO"), "skip", "cannot be read now (EIO): left as it is"),
    ],
)
def test_a_reason_is_given_in_words(study: Study, files: TaskFiles, action: str, reason: str) -> None:
    row = row_of(study, files)
    assert (row.action, row.reason) == (action, reason)


def test_a_result_of_another_container_counts_and_is_named(study: Study) -> None:
    rule, files = ContainerRule("c" * 64), TaskFiles(ResultState.COMPLETE, "result", container_sha256="d" * 64)
    row = row_of(study, files, container=rule)
    assert (row.action, row.reason) == ("skip", f"result, done, but made in container {'d' * 12}")


def test_a_cell_without_a_folder_runs(study: Study) -> None:
    assert {row.reason for row in make_plan(study, {}).rows} == {"no result"}


def test_what_is_skipped_costs_nothing(study: Study) -> None:
    assert row_of(study, TaskFiles(ResultState.COMPLETE)).seconds == 0


def test_resuming_costs_less_than_starting(study: Study) -> None:
    assert row_of(study, TaskFiles(ResultState.PARTIAL, step=900)).seconds < make_plan(study, {}).rows[2].seconds


def test_a_measured_speed_serves_the_truth_and_every_seed_of_the_same_model(study: Study) -> None:
    rows = make_plan(study, {study.cells[0].id: TaskFiles(ResultState.COMPLETE, seconds_per_step=2.0)}).rows
    assert [row.estimate for row in rows] == ["measured", "analytic", "none", "measured", "analytic", "analytic"]
    assert 2000 < rows[3].seconds < 2200


def test_the_truths_own_folder_is_told_apart(study: Study) -> None:
    dataset = TaskFiles(ResultState.PARTIAL, "50 of 90 images")
    rows = make_plan(study, {"truth": TaskFiles(ResultState.COMPLETE), "dataset": dataset}).rows
    assert [row.action for row in rows[:3]] == ["skip", "run", "run"]
    assert rows[1].reason == "partial (50 of 90 images): goes on"


def test_a_diverged_truth_is_told(study: Study) -> None:
    assert "change the truth" in make_plan(study, {"truth": TaskFiles(ResultState.DIVERGED)}).rows[0].reason


def test_real_data_alone_need_neither_truth_nor_dataset() -> None:
    real = parse_study("name: a\ncells: [{flow: {}, paradigm: {name: nll}}]", "g.yaml", precision="fp32")
    assert [row.kind for row in make_plan(real, {}).rows] == ["cell"]


def test_core_hours_are_the_sum_of_the_rows(study: Study) -> None:
    plan = make_plan(study, {})
    assert plan.core_hours == pytest.approx(sum(row.seconds for row in plan.rows) / 3600)


def test_the_share_of_evaluations_is_told(study: Study) -> None:
    plan, frugal = (make_plan(study.model_copy(update={"metrics": metrics}), {}) for metrics in (FULL, FRUGAL))
    assert study.truth is not None
    evaluations = [cell_cost(cell, study).eval_seconds for cell in (study.truth, *study.cells)]
    assert plan.evaluation_share == pytest.approx(sum(evaluations) / 3600 / plan.core_hours)
    assert 0 < frugal.evaluation_share < plan.evaluation_share < 1
    assert frugal.core_hours < plan.core_hours
    assert plan.to_json()["evaluation_share"] == plan.evaluation_share
    done = TaskFiles(ResultState.COMPLETE)
    nothing = make_plan(study, dict.fromkeys(("truth", "dataset", *(cell.id for cell in study.cells)), done))
    assert nothing.evaluation_share == 0


def test_more_cores_shorten_the_wall_time_but_not_the_stages(study: Study) -> None:
    one, four, many = (make_plan(study, {}, cores=cores) for cores in (1, 4, 100))
    assert one.wall_seconds == pytest.approx(one.core_hours * 3600 + SHIPPED.start_s)
    assert four.wall_seconds == many.wall_seconds
    first = sum(row.seconds for row in many.rows[:2])
    assert many.wall_seconds == pytest.approx(first + max(row.seconds for row in many.rows[2:]) + 2 * SHIPPED.start_s)


def test_the_more_cores_are_busy_the_slower_is_each(study: Study) -> None:
    shared = KnownCalibration(replace(SHIPPED, busy_ratio=1.5))
    alone, half, all_busy = (make_plan(study, {}, cores=cores, calibration=shared) for cores in (1, 8, 4))
    cells = [row.seconds for row in alone.rows[2:]]
    first = sum(row.seconds for row in alone.rows[:2])
    assert alone.wall_seconds == pytest.approx(first + sum(cells) + SHIPPED.start_s)
    assert half.wall_seconds < all_busy.wall_seconds == pytest.approx(first + 1.5 * max(cells) + 2 * SHIPPED.start_s)


def test_a_finished_study_takes_no_time(study: Study) -> None:
    done = TaskFiles(ResultState.COMPLETE)
    plan = make_plan(study, dict.fromkeys(("truth", "dataset", *(cell.id for cell in study.cells)), done))
    assert (plan.num_run, plan.num_skip, plan.wall_seconds) == (0, 6, 0)


def test_a_plan_is_json(study: Study) -> None:
    plan = make_plan(study, {}, cores=2)
    back = json.loads(json.dumps(plan.to_json()))
    assert back["num_run"] == 6
    assert back["rows"][2]["id"] == study.cells[0].id


def test_ten_thousand_cells_are_planned_quickly() -> None:
    study = parse_study(
        GRID.replace("[0, 2]", "[0, 5000]").replace("cells:", "dataset: {num_train: 500000}\ncells:"),
        "g",
        precision="fp32",
    )
    begin = time.process_time()
    assert len(make_plan(study, {}, cores=2).rows) == 10_002
    assert time.process_time() - begin < 1


def test_smoke_is_planned_within_five_minutes_on_two_cores() -> None:
    assert make_plan(load_study("smoke", precision="bf16"), {}, cores=2).wall_seconds < 300


# GPUs


def on_gpu(study: Study, speedup: float) -> TaskFiles:
    """Return the files of the first cell, as a GPU that is so many times as fast as a core left them."""
    seconds = cell_cost(study.cells[0], study).seconds_per_step / speedup
    return TaskFiles(ResultState.COMPLETE, seconds_per_step=seconds, device="NVIDIA H200")


@pytest.mark.parametrize("starts", ["[random, truth]", "[truth, random]"])
def test_a_prediction_costs_only_where_there_is_one(starts: str) -> None:
    text = (
        "name: s\ntruth: {pretrained: known-mnist}\ncells:\n  - degree: W\n    seed: 0\n"
        "    data: {source: synthetic, num_train: 1000}\n"
        f"    paradigm: {{name: nsgan, steps: 20, optimizer: sgd, updates: simultaneous}}\n    start: {starts}\n"
    )
    study = parse_study(text, "s.yaml", precision="fp32")
    seconds = {
        cell.start: row.seconds for cell in study.cells for row in make_plan(study, {}).rows if row.id == cell.id
    }
    assert seconds["truth"] > 1.5 * seconds["random"]


def test_a_study_without_gpus_has_no_gpu_hours(study: Study) -> None:
    plan = make_plan(study, {})
    assert (plan.gpu_hours, plan.rows[2].gpu_memory_gb) == (0, 0)


def test_gpu_hours_are_by_an_assumption_that_is_stated(study: Study) -> None:
    plan = make_plan(study, {}, gpus=1)
    runs = sum(row.seconds for row in plan.rows if row.kind != "dataset")
    assert plan.gpu_hours == pytest.approx(runs / 3600 / CORES_PER_GPU)
    assert "assume that one GPU does the work of 40 cores" in plan.gpu_rate.note
    assert plan.to_json()["gpu_rate"]["source"] == "assumed"


def test_gpu_hours_are_by_the_rate_of_a_run_once_there_is_one(study: Study) -> None:
    assumed, plan = make_plan(study, {}, gpus=1), make_plan(study, {study.cells[0].id: on_gpu(study, 10)}, gpus=1)
    assert plan.gpu_rate.cores == pytest.approx(10)
    assert plan.rows[3].gpu_seconds == pytest.approx(4 * assumed.rows[3].gpu_seconds)
    assert "1 run on NVIDIA H200" in plan.gpu_rate.note
    assert plan.to_json()["gpu_rate"]["source"] == "measured"


def test_each_run_takes_the_gpus_of_its_job(study: Study) -> None:
    one, two = (make_plan(study, {}, gpus=gpus) for gpus in (1, 2))
    assert two.gpu_hours == pytest.approx(2 * one.gpu_hours)


def test_a_run_on_a_gpu_says_nothing_about_a_core(study: Study) -> None:
    plan = make_plan(study, {study.cells[0].id: on_gpu(study, 10)})
    assert plan.rows[3].estimate == "analytic"
    assert plan.rows[3].seconds == make_plan(study, {}).rows[3].seconds


def test_gpu_memory_grows_with_the_batch(study: Study) -> None:
    (cell,) = study.cells[:1]
    large = cell.model_copy(update={"paradigm": cell.paradigm.model_copy(update={"batch_size": 4096})})
    assert 0.6 < gpu_memory_gb(cell) < gpu_memory_gb(large)
