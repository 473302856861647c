"""Runs on a device: the same tests on the CPU and, if there is one, on a GPU (``pytest -m gpu``)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nllgen.metrics.exact import log_densities
from nllgen.models import RealNVP
from nllgen.storage.atomic import write_bytes
from nllgen.study.sweep import PARADIGMS
from nllgen.train.checkpoint import resume, save_checkpoint
from nllgen.train.loop import _step
from tests.train.runs import MakeRun

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]
EVERY = [(name, "fresh" if name == "nsgan_oracle" else "mnist") for name in PARADIGMS]


def tensors(value: object) -> Iterator[Tensor]:
    """Yield all tensors in nested dictionaries and lists."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors(item)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("paradigm", "source"), EVERY)
@pytest.mark.parametrize("device", DEVICES)
def test_a_run_stays_on_its_device_and_resumes_to_the_same_bits(
    make_run: MakeRun, tmp_path: Path, device: str, paradigm: str, source: str, precision: str
) -> None:
    make = make_run(paradigm, source, precision, device=device)
    state = make()
    for step in range(4):
        if step == 2:
            save_checkpoint(tmp_path / "checkpoint.1.pt", state, write_bytes)
        assert all(math.isfinite(value) for value in _step(state).values())
    assert {parameter.device.type for parameter in state.flow.parameters()} == {device}
    resumed = resume(make, [tmp_path / "checkpoint.1.pt"], print)
    assert resumed.step == 2
    while resumed.step < state.step:
        _step(resumed)
    for name in ("flow", "paradigm"):
        pairs = zip(*(tensors(getattr(each, name).state_dict()) for each in (state, resumed)), strict=True)
        assert all(a.device == b.device and torch.equal(a, b) for a, b in pairs)


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
