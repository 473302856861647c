"""The control of a game: steps along normal random gradients."""

from __future__ import annotations

import copy

import pytest
import torch

from nllgen.models import RealNVP
from nllgen.paradigms import make_paradigm
from nllgen.paradigms.base import Context, NextBatch
from nllgen.study.config import NoiseConfig
from tests.paradigms.games import MakeContext


def no_images(n: int) -> torch.Tensor:
    raise AssertionError("it uses no images")


def test_the_gradients_are_standard_normal_and_independent(flow: RealNVP, context: Context) -> None:
    noise = make_paradigm(NoiseConfig(), flow, context)
    drawn = []
    for step in range(20):
        noise.step(no_images, step)
        drawn.append(torch.cat([p.grad.flatten() for p in flow.parameters() if p.grad is not None]))
    values = torch.stack(drawn).double()
    count = values.numel()
    assert values.shape[1] == sum(p.numel() for p in flow.parameters())
    assert abs(values.mean().item()) < 5 / count**0.5
    assert values.var().item() == pytest.approx(1, abs=5 * (2 / count) ** 0.5)
    products = (values[:-1] * values[1:]).mean().item()
    assert abs(products) < 5 / count**0.5


def test_plain_steps_are_the_rate_times_the_gradient(flow: RealNVP, context: Context) -> None:
    before = copy.deepcopy(flow)
    scalars = make_paradigm(NoiseConfig(optimizer="sgd", lr=0.01), flow, context).step(no_images, 0)
    squares = 0.0
    for old, new in zip(before.parameters(), flow.parameters(), strict=True):
        assert new.grad is not None
        torch.testing.assert_close(new.detach(), old.detach() - 0.01 * new.grad)
        squares += new.grad.double().square().sum().item()
    assert scalars == {"grad_norm": pytest.approx(squares**0.5, rel=1e-5), "lr": 0.01}


def test_adams_first_step_moves_every_weight_by_the_rate(flow: RealNVP, context: Context) -> None:
    before = copy.deepcopy(flow)
    make_paradigm(NoiseConfig(lr=0.01), flow, context).step(no_images, 0)
    for old, new in zip(before.parameters(), flow.parameters(), strict=True):
        torch.testing.assert_close((new - old).abs(), torch.full_like(old, 0.01), rtol=1e-3, atol=1e-6)


def test_the_gradients_come_from_the_runs_stream(flow: RealNVP, make_context: MakeContext) -> None:
    flows = [copy.deepcopy(flow) for _ in range(2)]
    next_batch: NextBatch = no_images
    for index, each in enumerate(flows):
        torch.manual_seed(index)
        make_paradigm(NoiseConfig(), each, make_context()).step(next_batch, 0)
    for one, other in zip(flows[0].parameters(), flows[1].parameters(), strict=True):
        assert torch.equal(one, other)
