"""Maximum likelihood."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nllgen.models import RealNVP
from nllgen.paradigms import REGISTRY, make_paradigm
from nllgen.paradigms.base import Context
from nllgen.paradigms.guard import Diverged
from nllgen.paradigms.nll import learning_rate
from nllgen.study.allowed_keys import PARADIGMS
from nllgen.study.config import FlowConfig, NLLConfig
from tests.paradigms.games import gradients


def batches(seed: int = 0, shape: tuple[int, int, int] = (1, 6, 6)) -> Callable[[int], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda n: torch.randn(n, *shape, generator=generator)


def test_the_loss_is_the_mean_negative_log_density_before_the_step(flow: RealNVP, context: Context) -> None:
    x = batches()(8)
    expected = -flow.log_prob(x).mean().item()
    nll = make_paradigm(NLLConfig(batch_size=8), flow, context)
    assert nll.step(lambda n: x, 0)["train_nll_nats"] == pytest.approx(expected)


def test_the_gradient_norm_is_that_of_autograd(flow: RealNVP, context: Context) -> None:
    x = batches()(8)
    grads = torch.autograd.grad(-flow.log_prob(x).mean(), list(flow.parameters()), allow_unused=True)
    expected = math.sqrt(sum(g.square().sum().item() for g in grads if g is not None))
    nll = make_paradigm(NLLConfig(batch_size=8), flow, context)
    assert nll.step(lambda n: x, 0)["grad_norm"] == pytest.approx(expected, rel=1e-5)


def test_the_gradient_that_is_stepped_is_clipped(flow: RealNVP, context: Context) -> None:
    nll = make_paradigm(NLLConfig(batch_size=8, clip_norm=0.01), flow, context)
    assert nll.step(batches(), 0)["grad_norm"] > 0.01
    norm = math.sqrt(sum(grad.square().sum().item() for grad in gradients(flow)))
    assert norm == pytest.approx(0.01, rel=1e-3)


def test_cosine_decay_goes_from_lr_to_zero() -> None:
    config = NLLConfig(steps=100, lr=2e-3)
    assert learning_rate(config, 0) == 2e-3
    assert learning_rate(config, 50) == pytest.approx(1e-3)
    assert 0 < learning_rate(config, 99) < 1e-6


def test_a_warm_up_rises_to_the_cosine_and_stays_on_it() -> None:
    config, warm = (NLLConfig(steps=1000, lr=1e-2, schedule=name) for name in ("cosine", "warmup_cosine"))
    rates = [learning_rate(warm, step) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[:99] == sorted(rates[:99])
    assert rates[49] == pytest.approx(learning_rate(config, 49) / 2)
    assert rates[99:] == [learning_rate(config, step) for step in range(99, 1000)]


def test_a_constant_schedule_is_constant() -> None:
    assert learning_rate(NLLConfig(steps=100, schedule="constant"), 99) == 1e-3


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_batch_that_is_not_finite_diverges_before_the_weights_move(
    flow: RealNVP, context: Context, value: float
) -> None:
    before = copy.deepcopy(flow.state_dict())
    nll = make_paradigm(NLLConfig(batch_size=4), flow, context)
    with pytest.raises(Diverged):
        nll.step(lambda n: torch.full((n, 1, 6, 6), value), 0)
    for name, tensor in flow.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_it_finds_a_known_density(context: Context) -> None:
    """Fit correlated pixels: KL from the truth falls from several nats to nearly 0."""
    torch.manual_seed(1)
    shape = (1, 2, 2)
    mix = torch.eye(4) + 0.8 * torch.rand(4, 4)
    truth = torch.distributions.MultivariateNormal(torch.tensor([1.0, -2.0, 0.5, 0.0]), mix @ mix.T)
    flow = RealNVP(FlowConfig(shape=shape, width=16, blocks=1, scales=1))
    flow.initialise(truth.sample((256,)).view(-1, *shape))
    nll = make_paradigm(NLLConfig(steps=300, batch_size=256, lr=5e-3), flow, context)
    for step in range(300):
        nll.step(lambda n: truth.sample((n,)).view(n, *shape), step)
    x = truth.sample((4000,))
    with torch.no_grad():
        log_p: Tensor = truth.log_prob(x)  # type: ignore[no-untyped-call]
        kl = (log_p - flow.log_prob(x.view(-1, *shape))).mean().item()
    assert kl < 0.02


def test_every_paradigm_of_the_study_has_its_file() -> None:
    assert set(REGISTRY) == set(PARADIGMS)


def test_plain_steps_go_along_the_gradient(flow: RealNVP, context: Context) -> None:
    nll = make_paradigm(NLLConfig(optimizer="sgd", lr=0.1, schedule="constant", clip_norm=1e9), flow, context)
    before = [p.detach().clone() for p in flow.parameters()]
    nll.step(batches(), 0)
    for old, parameter, grad in zip(before, flow.parameters(), gradients(flow), strict=True):
        torch.testing.assert_close(parameter.detach(), old - 0.1 * grad)
