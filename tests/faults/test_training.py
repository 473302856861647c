"""What goes wrong in training is an outcome: a valid result with the history up to it, and metrics that may be NaN."""

import math

import numpy as np
import pytest
import torch

from nllgen.data.logits import log_det_levels
from nllgen.data.sources import Dequantised
from nllgen.metrics import critic
from nllgen.metrics.extractors import load_extractor
from nllgen.metrics.measurement import EvalSet
from nllgen.storage.result import read_result
from nllgen.storage.study_dir import TaskDir
from nllgen.study.config import Cell, DataConfig, FlowConfig, MetricsConfig
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.study.sweep import PARADIGMS
from nllgen.worker import train_cell
from nllgen.worker.factory import CellData, make_evaluator
from nllgen.worker.settings import Settings

CPU = torch.device("cpu")
STEPS, BROKEN_AT = 8, 4
FLOW = FlowConfig(shape=(1, 7, 7), width=4, blocks=1, scales=1)
METRICS = MetricsConfig(num_samples=60, num_train_eval=60, num_kept=4)
NAMES = ("nll", "nsgan", "hybrid", "wgan_gp")


def nan_in_data(state, x):
    x[0, 0, 3, 3] = math.nan


def infinity_in_data(state, x):
    x[0, 0, 3, 3] = math.inf


def nan_in_gradient(state, x):
    next(state.flow.parameters()).register_hook(lambda gradient: gradient * math.nan)


def nan_in_weights(state, x):
    with torch.no_grad():
        next(state.flow.parameters()).view(-1)[0] = math.nan


def exploding_scale(state, x):
    with torch.no_grad():
        for parameter in state.flow.parameters():
            parameter *= 1e30


IN_DATA = (nan_in_data, infinity_in_data)
FAULTS = [*IN_DATA, nan_in_gradient, nan_in_weights, exploding_scale]
# a discriminator sees pixels, where an infinite logit is white
CASES = [
    (name, fault) for name in NAMES for fault in FAULTS if fault is not infinity_in_data or name in ("nll", "hybrid")
]


def collapse(state, x):
    """It says 0 of everything, and no gradient gets through it."""
    with torch.no_grad():
        for parameter in state.paradigm.disc.parameters():
            parameter.zero_()


def saturation(state, x):
    """It is sure of everything."""
    with torch.no_grad():
        for parameter in state.paradigm.disc.parameters():
            parameter *= 1e4


def spoiled(state, fault):
    """The state, with a fault in the data of a step, or in what stands before it."""
    next_batch, step, left = state.source.next, state.paradigm.step, [fault]

    def spoiled_batch(n):
        x = next_batch(n)
        if state.step == BROKEN_AT and fault in IN_DATA and left:
            left.pop()(state, x)
        return x

    def spoiled_step(take, number):
        if number == BROKEN_AT and fault not in IN_DATA:
            left.pop()(state, None)
        return step(take, number)

    state.source.next, state.paradigm.step = spoiled_batch, spoiled_step
    return state


def finished(name, fault, folder, monkeypatch):
    """The result of a run that is spoiled, as it lies on the disk."""
    torch.set_num_threads(1)
    config = PARADIGMS[name](steps=STEPS, batch_size=8, eval_every=100, ema_decay=0.0)
    cell = Cell(data=DataConfig(image_size=7, num_val=60, num_test=60), flow=FLOW, paradigm=config)
    levels = torch.randint(0, 256, (60, 1, 7, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    logits = Dequantised(levels, torch.Generator(), torch.Generator(), 1e-6).next(60)
    held_out = EvalSet(logits, log_det=log_det_levels(logits, 1e-6).numpy())
    make_source = lambda order, noise: Dequantised(levels, order, noise, 1e-6)  # noqa: E731
    data = CellData(make_source, dict.fromkeys(("train", "val", "test"), held_out), levels)
    lenet = load_extractor("lenet", CPU, inception_weights=None, echo=print)
    evaluator = make_evaluator(cell, data, None, METRICS, (lenet,), CPU)
    make_state = train_cell.make_state
    monkeypatch.setattr(critic, "STEPS", 20)  # of 300: what it finds is not looked at here
    monkeypatch.setattr(train_cell, "make_state", lambda *given: spoiled(make_state(*given), fault))
    settings = Settings(CPU, RunOptions(folder), TaskOrder(cell.id, "a"))
    run = train_cell.CellRun(cell, "spoiled", TaskDir(folder), data, None, evaluator, METRICS, settings)
    assert train_cell.run_cell(run)
    return read_result(folder / "result.h5")


@pytest.mark.parametrize(("name", "fault"), CASES)
def test_a_number_that_is_not_finite_is_a_divergence_with_its_history(name, fault, tmp_path, monkeypatch):
    result = finished(name, fault, tmp_path, monkeypatch)
    assert result.attrs["outcome"] == "diverged"
    last = int(result.history["step"][-1])
    assert BROKEN_AT < last <= BROKEN_AT + 2
    assert list(result.history["step"]) == list(range(1, last + 1))
    assert np.isfinite(result.history["grad_norm"][:BROKEN_AT]).all()
    assert list(result.eval["step"])[-1] == last
    assert len(result.samples) == METRICS.num_kept


@pytest.mark.parametrize("name", ["nsgan", "hybrid", "wgan_gp"])
@pytest.mark.parametrize("fault", [collapse, saturation])
def test_a_discriminator_that_fails_leaves_its_trace_in_the_history(name, fault, tmp_path, monkeypatch):
    result = finished(name, fault, tmp_path, monkeypatch)
    loss = result.history["loss_disc"]
    assert result.attrs["outcome"] in ("done", "diverged")
    assert len(loss) > BROKEN_AT
    assert np.isfinite(loss[:BROKEN_AT]).all()
    if fault is collapse and name == "nsgan":
        assert result.attrs["outcome"] == "done"
        assert loss[BROKEN_AT] == pytest.approx(2 * math.log(2), abs=1e-6)
        assert result.history["grad_norm"][BROKEN_AT] < 1e-2
    if fault is saturation:
        assert abs(loss[BROKEN_AT]) > 10 or not np.isfinite(loss[BROKEN_AT])
