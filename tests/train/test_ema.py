"""The moving average of weights."""

from __future__ import annotations

import torch

from nllgen.models import RealNVP
from nllgen.study.config import FlowConfig
from nllgen.train.ema import EMA


def test_the_average_follows_its_formula() -> None:
    flow = RealNVP(FlowConfig(shape=(1, 4, 4), width=2, blocks=0))
    ema = EMA(flow, 0.9)
    parameter = next(flow.parameters())
    start = parameter.detach().clone()
    with torch.no_grad():
        parameter.add_(1.0)
    ema.update(flow, step=10_000)  # far enough that the decay itself counts
    assert torch.allclose(next(ema.flow.parameters()), start + 0.1)


def test_early_steps_forget_the_start_sooner() -> None:
    flow = RealNVP(FlowConfig(shape=(1, 4, 4), width=2, blocks=0))
    ema = EMA(flow, 0.999)
    parameter = next(flow.parameters())
    start = parameter.detach().clone()
    with torch.no_grad():
        parameter.add_(1.0)
    ema.update(flow, step=1)
    assert torch.allclose(next(ema.flow.parameters()), start + 1 - 2 / 11)
