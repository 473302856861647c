"""Numerical faults in training: each ends in a valid result with the history before it; metrics may be NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nllgen.data.logits import log_det_levels
from nllgen.data.sources import Dequantised
from nllgen.metrics import critic
from nllgen.metrics.extractors import load_extractor
from nllgen.metrics.measurement import EvalSet
from nllgen.paradigms.adversarial import Adversarial
from nllgen.paradigms.guard import Columns
from nllgen.storage.result import Result, read_result
from nllgen.storage.study_dir import TaskDir
from nllgen.study.allowed_keys import PARADIGMS
from nllgen.study.config import Cell, DataConfig, FlowConfig, MetricsConfig
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.train.state import TrainState
from nllgen.worker import train_cell
from nllgen.worker.factory import CellData, make_evaluator, make_state
from nllgen.worker.settings import Settings

CPU = torch.device("cpu")
STEPS, BROKEN_AT = 8, 4
FLOW = FlowConfig(shape=(1, 14, 14), width=4, blocks=1, scales=1)
METRICS = MetricsConfig(num_samples=60, num_train_eval=60, num_kept=4)
NAMES = ("nll", "nsgan", "hybrid", "wgan_gp")
Inject = Callable[[TrainState, Tensor], None]


def nan_in_data(state: TrainState, x: Tensor) -> None:
    x[0, 0, 3, 3] = math.nan


def infinity_in_data(state: TrainState, x: Tensor) -> None:
    x[0, 0, 3, 3] = math.inf


def nan_in_gradient(state: TrainState, x: Tensor) -> None:
    weight = next(state.flow.parameters())
    weight.register_hook(lambda gradient: gradient * math.nan)  # type: ignore[no-untyped-call]


def nan_in_weights(state: TrainState, x: Tensor) -> None:
    with torch.no_grad():
        next(state.flow.parameters()).view(-1)[0] = math.nan


def exploding_scale(state: TrainState, x: Tensor) -> None:
    with torch.no_grad():
        for parameter in state.flow.parameters():
            parameter.mul_(1e30)


IN_DATA: tuple[Inject, ...] = (nan_in_data, infinity_in_data)
FAULTS: list[Inject] = [*IN_DATA, nan_in_gradient, nan_in_weights, exploding_scale]
# a discriminator sees pixels, where an infinite logit is white
CASES = [
    (name, fault) for name in NAMES for fault in FAULTS if fault is not infinity_in_data or name in ("nll", "hybrid")
]


def disc_of(state: TrainState) -> torch.nn.Module:
    assert isinstance(state.paradigm, Adversarial)
    return state.paradigm.disc


def collapse(state: TrainState, x: Tensor) -> None:
    """Make a discriminator whose output is always 0 and that passes no gradient on."""
    with torch.no_grad():
        for parameter in disc_of(state).parameters():
            parameter.zero_()


def saturation(state: TrainState, x: Tensor) -> None:
    """Make a discriminator that is certain of every image."""
    with torch.no_grad():
        for parameter in disc_of(state).parameters():
            parameter.mul_(1e4)


def with_fault(state: TrainState, fault: Inject) -> TrainState:
    """Return the state with a fault in the data of one step, or in the model before it."""
    next_batch, step, left = state.source.next, state.paradigm.step, [fault]

    def faulty_batch(n: int) -> Tensor:
        x = next_batch(n)
        if state.step == BROKEN_AT and fault in IN_DATA and left:
            left.pop()(state, x)
        return x

    def faulty_step(take: Callable[[int], Tensor], number: int) -> Columns:
        if number == BROKEN_AT and fault not in IN_DATA:
            left.pop()(state, torch.empty(0))
        return step(take, number)

    state.source.next = faulty_batch  # type: ignore[method-assign]
    state.paradigm.step = faulty_step  # type: ignore[method-assign, assignment]
    return state


def result_with_fault(name: str, fault: Inject, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Train a run with a fault, and read its result from the disk."""
    torch.set_num_threads(1)
    config: Any = PARADIGMS[name](steps=STEPS, batch_size=8, eval_every=100, ema_decay=0.0)
    cell = Cell(data=DataConfig(image_size=14, num_val=60, num_test=60), flow=FLOW, paradigm=config)
    levels = torch.randint(0, 256, (60, 1, 14, 14), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    logits = Dequantised(levels, torch.Generator(), torch.Generator(), 1e-6).next(60)
    held_out = EvalSet(logits, log_det=log_det_levels(logits, 1e-6).numpy())
    make_source = lambda order, noise: Dequantised(levels, order, noise, 1e-6)  # noqa: E731
    data = CellData(make_source, dict.fromkeys(("train", "val", "test"), held_out), levels)
    lenet = load_extractor("lenet", CPU, domain=DataConfig(image_size=14), inception_weights=Path("none"), echo=print)
    assert lenet is not None
    evaluator = make_evaluator(cell, data, None, METRICS, (lenet,), CPU)
    monkeypatch.setattr(critic, "STEPS", 20)  # of 300: these tests do not read the critic's metrics
    monkeypatch.setattr(train_cell, "make_state", lambda *arguments: with_fault(make_state(*arguments), fault))
    settings = Settings(CPU, RunOptions(directory), TaskOrder(cell.id, "a"))
    run = train_cell.CellRun(cell, "faulty", TaskDir(directory), data, None, evaluator, METRICS, settings)
    assert train_cell.run_cell(run)
    return read_result(directory / "result.h5")


@pytest.mark.parametrize(("name", "fault"), CASES)
def test_a_number_that_is_not_finite_is_a_divergence_with_its_history(
    name: str, fault: Inject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = result_with_fault(name, fault, tmp_path, monkeypatch)
    assert result.attrs["outcome"] == "diverged"
    last = int(result.history["step"][-1])
    assert BROKEN_AT < last <= BROKEN_AT + 2
    assert list(result.history["step"]) == list(range(1, last + 1))
    assert np.isfinite(result.history["grad_norm"][:BROKEN_AT]).all()
    assert list(result.eval["step"])[-1] == last
    assert len(result.samples) == METRICS.num_kept


@pytest.mark.parametrize("name", ["nsgan", "hybrid", "wgan_gp"])
@pytest.mark.parametrize("fault", [collapse, saturation])
def test_a_broken_discriminator_shows_in_the_history(
    name: str, fault: Inject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = result_with_fault(name, fault, tmp_path, monkeypatch)
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
