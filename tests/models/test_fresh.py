from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nllgen.models import RealNVP
from nllgen.study.config import FlowConfig

MakeX = Callable[..., Tensor]


@pytest.fixture
def fresh(config: FlowConfig) -> RealNVP:
    """Return a new flow with at least 8 feature maps: a single one may be 0 after ReLU for a whole batch."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RealNVP(config.model_copy(update={"width": max(8, config.width)})).double()


def missing_gradients(flow: RealNVP) -> set[str]:
    return {name for name, p in flow.named_parameters() if p.grad is None or not p.grad.any()}


def test_forward_of_a_fresh_flow_is_the_identity(fresh: RealNVP, make_x: MakeX) -> None:
    x = make_x(fresh.config)
    z, log_det = fresh(x)
    assert torch.equal(z, x)
    assert torch.equal(log_det, torch.zeros_like(log_det))


def test_inverse_of_a_fresh_flow_is_the_identity(fresh: RealNVP, make_x: MakeX) -> None:
    z = make_x(fresh.config)
    x, log_det = fresh.inverse(z)
    assert torch.equal(x, z)
    assert torch.equal(log_det, torch.zeros_like(log_det))


def test_initialised_flow_gives_latents_of_mean_0_and_standard_deviation_1(fresh: RealNVP, make_x: MakeX) -> None:
    x = make_x(fresh.config, 8)
    fresh.initialise(x)
    z, _ = fresh(x)
    assert abs(float(z.detach().mean())) < 1e-9
    assert abs(float(z.detach().std(correction=0)) - 1) < 1e-9


def test_last_convolutions_get_a_gradient_at_once(fresh: RealNVP, make_x: MakeX) -> None:
    fresh.log_prob(make_x(fresh.config)).sum().backward()  # type: ignore[no-untyped-call]
    assert not {name for name in missing_gradients(fresh) if ".last." in name or ".norms." in name}


def test_every_parameter_gets_a_gradient_after_one_step(fresh: RealNVP, make_x: MakeX) -> None:
    optimiser = torch.optim.Adam(fresh.parameters(), lr=1e-2)
    x = make_x(fresh.config, 8)
    for _ in range(2):
        optimiser.zero_grad()
        (-fresh.log_prob(x).mean()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert missing_gradients(fresh) == set()


def test_every_parameter_gets_a_gradient_through_samples(fresh: RealNVP) -> None:
    optimiser = torch.optim.Adam(fresh.parameters(), lr=1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        # any loss of the images that is not symmetric will do
        (fresh.sample(8, torch.Generator().manual_seed(0)) - 1).square().sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert missing_gradients(fresh) == set()
