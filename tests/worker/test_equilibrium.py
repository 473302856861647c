"""A cell that starts at the Nash equilibrium, run by the worker: the recorded columns against theory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from nllgen.data.synthetic import draw_split
from nllgen.data.truth import Truth, weights_sha256
from nllgen.models import RealNVP
from nllgen.storage.dataset import Dataset
from nllgen.storage.result import Result, read_result
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Cell, DataConfig, FlowConfig, MetricsConfig, NLLConfig, NSGANConfig
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.train.streams import generator
from nllgen.worker.equilibrium import predict_critical_step
from nllgen.worker.factory import make_evaluator, make_state, synthetic_data
from nllgen.worker.settings import Settings
from nllgen.worker.train_cell import CellRun, run_cell

CPU = torch.device("cpu")
FLOW = FlowConfig(shape=(1, 7, 7), width=2, blocks=0, scales=1)
DATA = DataConfig(source="synthetic", image_size=7, num_train="fresh", num_val=100, num_test=100)
METRICS = MetricsConfig(
    every=("divergence",), final=(), frechet=(), num_samples=100, num_train_eval=100, num_kept=0, num_equilibrium=200
)


def nash_cell(start: Literal["random", "truth"] = "truth", **settings: Any) -> Cell:
    plain: dict[str, Any] = {
        "optimizer": "sgd",
        "updates": "simultaneous",
        "lr": 1e-3,
        "disc_lr": 1e-3,
        "disc_width": 2,
    }
    paradigm = NSGANConfig(steps=4, batch_size=8, eval_every=2, **(plain | settings))
    return Cell(data=DATA, flow=FLOW, paradigm=paradigm, start=start)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def truth() -> Truth:
    torch.manual_seed(0)
    flow = RealNVP(FLOW).requires_grad_(False)
    for parameter in flow.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    cell = Cell(data=DataConfig(image_size=7), flow=FLOW, paradigm=NLLConfig())
    return Truth(cell, flow, weights_sha256(flow.state_dict()))


@pytest.fixture(scope="module")
def dataset(truth: Truth) -> Dataset:
    def chunks(split: str, chunk: int) -> torch.Generator:
        return generator(CPU, 0, "dataset", split, chunk)

    drawn = {split: draw_split(truth, split, 0, 100, chunks, lambda n: None) for split in ("train", "val", "test")}
    x = {split: images.numpy() for split, (images, _, _) in drawn.items()}
    log_prob = {split: densities.numpy() for split, (_, densities, _) in drawn.items()}
    return Dataset(truth.id, truth.sha256, x, log_prob, {})


def run(cell: Cell, truth: Truth, dataset: Dataset, folder: Path, metrics: MetricsConfig = METRICS) -> Result:
    data = synthetic_data(cell, metrics, dataset, truth, CPU)
    evaluator = make_evaluator(cell, data, truth, metrics, (), CPU)
    task_dir = StudyDir(folder).cell(cell.id)
    settings = Settings(CPU, RunOptions(folder), TaskOrder(cell.id, "one"))
    run_cell(CellRun(cell, "test", task_dir, data, truth, evaluator, metrics, settings))
    return read_result(task_dir.result)


@pytest.fixture(scope="module")
def result(truth: Truth, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(nash_cell(), truth, dataset, tmp_path_factory.mktemp("nash"))


def test_the_first_step_has_both_losses_of_the_equilibrium(result: Result) -> None:
    assert result.history["loss_disc"][0] == pytest.approx(2 * math.log(2), rel=1e-6)
    assert result.history["loss_gen"][0] == pytest.approx(math.log(2), rel=1e-6)


def test_at_the_start_the_discriminator_is_the_optimum_and_every_divergence_zero(result: Result) -> None:
    first = {name: column[0] for name, column in result.eval.items()}
    assert first["step"] == 0
    for name in ("d_minus_r_nats", "kl_nats", "reverse_kl_nats"):
        assert first[name] == pytest.approx(0, abs=1e-4), name


def test_the_distance_to_the_optimum_is_recorded_at_every_evaluation_of_the_raw_weights(result: Result) -> None:
    raw = result.eval["weights"] == "raw"
    assert result.eval["step"][raw].tolist() == [0, 2, 4]
    assert np.isfinite(result.eval["d_minus_r_nats"]).tolist() == raw.tolist()


def test_the_critical_step_is_recorded_once_at_the_start(result: Result) -> None:
    known = np.isfinite(result.eval["critical_step"])
    assert result.eval["step"][known].tolist() == [0]
    assert 0 <= result.eval["critical_step"][0] < result.eval["critical_step_run"][0] < math.inf
    assert result.eval["num_null"][0] > 0


def test_a_prediction_leaves_the_training_as_it_is(
    result: Result, truth: Truth, dataset: Dataset, tmp_path: Path
) -> None:
    without = run(nash_cell(), truth, dataset, tmp_path, METRICS.model_copy(update={"num_equilibrium": 0}))
    assert "critical_step" not in without.eval
    assert without.attrs["model_sha256"] == result.attrs["model_sha256"]


@pytest.mark.parametrize(
    "settings",
    [{"optimizer": "adam"}, {"updates": "alternating"}, {"instance_noise": 0.1}, {"start": "random"}],
    ids=lambda settings: str(*settings.values()),
)
def test_no_critical_step_is_predicted_where_the_linearised_game_does_not_apply(settings: dict[str, Any]) -> None:
    assert nash_cell().has_prediction
    assert not nash_cell(**settings).has_prediction


def test_a_pretrained_discriminator_is_predicted_after_its_training(truth: Truth, dataset: Dataset) -> None:
    cell = nash_cell(disc_start="pretrained", disc_pretrain_steps=3)
    state = make_state(cell, synthetic_data(cell, METRICS, dataset, truth, CPU), truth, CPU)
    before = predict_critical_step(state, 200, generator(CPU, 0, "latents"))
    while state.paradigm.num_preparation_steps:
        state.paradigm.prepare()
    after = predict_critical_step(state, 200, generator(CPU, 0, "latents"))
    assert after["critical_step_run"] != before["critical_step_run"]
    assert math.isfinite(after["critical_step_run"])
