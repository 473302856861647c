from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nllgen.errors import ConfigError
from nllgen.models import RealNVP, embed
from nllgen.study.config import FlowConfig
from nllgen.study.degrees import student

MakeFlow = Callable[..., RealNVP]
MakeX = Callable[..., Tensor]

TRUTH = FlowConfig(shape=(1, 14, 14), width=4, blocks=2)


@pytest.fixture(params=["W", "O1", "O2"])
def degree(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_embedded_truth_has_its_log_prob(
    truth_config: FlowConfig, config: FlowConfig, make_flow: MakeFlow, make_x: MakeX
) -> None:
    truth, x = make_flow(truth_config), make_x(truth_config)
    torch.testing.assert_close(embed(truth, config).log_prob(x), truth.log_prob(x), rtol=0, atol=1e-10)


def test_embedded_truth_has_its_log_prob_in_fp32(degree: str, make_flow: MakeFlow, make_x: MakeX) -> None:
    truth, x = make_flow(TRUTH, torch.float32), make_x(TRUTH, 4, torch.float32)
    large = embed(truth, student(TRUTH, degree))  # type: ignore[arg-type]
    torch.testing.assert_close(large.log_prob(x), truth.log_prob(x), rtol=0, atol=1e-5 * TRUTH.num_dims)


def test_embedded_truth_draws_its_images(degree: str, make_flow: MakeFlow) -> None:
    truth = make_flow(TRUTH)
    large = embed(truth, student(TRUTH, degree))  # type: ignore[arg-type]
    images = [flow.sample(4, torch.Generator().manual_seed(0)) for flow in (truth, large)]
    torch.testing.assert_close(images[0], images[1], rtol=1e-10, atol=1e-10)


def test_embedded_truth_is_not_initialised_again(make_flow: MakeFlow, make_x: MakeX) -> None:
    truth, x = make_flow(TRUTH), make_x(TRUTH)
    large = embed(truth, student(TRUTH, "O1"))
    large.initialise(3 * x)
    torch.testing.assert_close(large.log_prob(x), truth.log_prob(x), rtol=0, atol=1e-10)


def test_embedding_leaves_the_small_flow_as_it_is(make_flow: MakeFlow) -> None:
    truth = make_flow(TRUTH)
    before = {name: value.clone() for name, value in truth.state_dict().items()}
    large = embed(truth, student(TRUTH, "O1"))
    for p in large.parameters():
        p.data += 1
    assert all(torch.equal(value, before[name]) for name, value in truth.state_dict().items())


def test_training_reaches_every_parameter_of_an_embedded_truth(make_flow: MakeFlow, make_x: MakeX) -> None:
    large = embed(make_flow(TRUTH), student(TRUTH, "O1"))
    optimiser, x = torch.optim.Adam(large.parameters(), lr=1e-3), make_x(TRUTH)
    for _ in range(2):
        optimiser.zero_grad()
        (-large.log_prob(x).mean()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert all(p.grad is not None and p.grad.any() for p in large.parameters())


@pytest.mark.parametrize(
    ("key", "value"),
    [("shape", (1, 28, 28)), ("scales", 1), ("coupling", "additive"), ("width", 2), ("blocks", 1)],
)
def test_flow_that_does_not_nest_is_refused_by_the_key(key: str, value: Any, make_flow: MakeFlow) -> None:
    config = FlowConfig.model_validate(TRUTH.model_dump() | {key: value})
    with pytest.raises(ConfigError, match=key):
        embed(make_flow(TRUTH), config)
