"""Runs on a device: the same tests on the CPU and, if there is one, on a GPU (``pytest -m gpu``)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nllgen.data.sources import Finite
from nllgen.errors import StoppedError
from nllgen.metrics.exact import log_densities
from nllgen.metrics.lenet import LeNetExtractor
from nllgen.models import RealNVP
from nllgen.storage.atomic import write_bytes
from nllgen.study.allowed_keys import PARADIGMS
from nllgen.train.checkpoint import resume, save_checkpoint
from nllgen.train.loop import READ_EVERY, train
from nllgen.train.state import Row
from tests.train.runs import MakeRun, hooks

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]
NUM_STEPS = {"cpu": 6, "cuda": 3 * READ_EVERY}
EVERY = [(name, "fresh" if name == "nsgan_oracle" else "mnist") for name in PARADIGMS]


def tensors(value: object) -> Iterator[Tensor]:
    """Yield all tensors in nested dictionaries and lists."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors(item)


def without_times(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name != "time_s"} for row in rows]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("paradigm", "source"), EVERY)
@pytest.mark.parametrize("device", DEVICES)
def test_a_run_stays_on_its_device_and_resumes_to_the_same_bits(
    make_run: MakeRun, tmp_path: Path, device: str, paradigm: str, source: str, precision: str
) -> None:
    steps, path = NUM_STEPS[device], tmp_path / "checkpoint.1.pt"
    make = make_run(paradigm, source, precision, device=device, steps=steps, eval_every=steps, ema_decay=0.9)
    state, stopped = make(), make()
    train(state, hooks())
    with pytest.raises(StoppedError):
        train(stopped, hooks(steps // 2, state=stopped, save=lambda state: save_checkpoint(path, state, write_bytes)))
    resumed = resume(make, [path], print)
    train(resumed, hooks())
    assert {parameter.device.type for parameter in state.flow.parameters()} == {device}
    assert resumed.step == state.step == steps
    assert without_times(resumed.history) == without_times(state.history)
    assert state.ema is not None
    assert resumed.ema is not None
    for a, b in ((state.flow, resumed.flow), (state.paradigm, resumed.paradigm), (state.ema.flow, resumed.ema.flow)):
        pairs = zip(tensors(a.state_dict()), tensors(b.state_dict()), strict=True)
        assert all(one.device == other.device and torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("device", DEVICES)
def test_densities_and_draws_are_those_of_fp64_on_the_cpu(make_run: MakeRun, device: str) -> None:
    flow = make_run("nll", device=device)().flow
    assert isinstance(flow, RealNVP)
    exact = copy.deepcopy(flow).cpu().double()
    x = flow.sample(64, torch.Generator(device).manual_seed(1)).detach()
    expected = log_densities(exact, x.cpu().double())
    assert log_densities(flow, x) == pytest.approx(expected, abs=1e-3)
    back = flow.inverse(flow.forward(x)[0])[0]
    assert back.device.type == device
    assert torch.allclose(back, x, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_features_are_those_of_the_cpu(device: str) -> None:
    images = torch.rand(300, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    expected = LeNetExtractor("cpu", 28).features(images)
    assert LeNetExtractor(device, 28).features(images.to(device)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_the_order_of_the_data_is_the_same_on_every_device(device: str) -> None:
    images = torch.arange(50.0).view(50, 1, 1, 1)
    sources = [Finite(images.to(where), torch.Generator().manual_seed(3)) for where in ("cpu", device)]
    for _ in range(5):
        expected, batch = (source.next(16) for source in sources)
        assert batch.device.type == device
        assert torch.equal(batch.cpu(), expected)
