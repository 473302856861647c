from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nllgen.models import RealNVP
from nllgen.study.config import FlowConfig

MakeFlow = Callable[..., RealNVP]
MakeX = Callable[..., Tensor]


def test_inverse_of_forward_is_the_identity(config: FlowConfig, make_flow: MakeFlow, make_x: MakeX) -> None:
    flow, x = make_flow(config), make_x(config)
    z, _ = flow(x)
    torch.testing.assert_close(flow.inverse(z)[0], x, rtol=1e-9, atol=1e-9)


def test_forward_of_inverse_is_the_identity(config: FlowConfig, make_flow: MakeFlow, make_x: MakeX) -> None:
    flow, z = make_flow(config), make_x(config)
    x, _ = flow.inverse(z)
    torch.testing.assert_close(flow(x)[0], z, rtol=1e-9, atol=1e-9)


def test_log_dets_of_the_two_directions_are_negatives(config: FlowConfig, make_flow: MakeFlow, make_x: MakeX) -> None:
    flow = make_flow(config)
    z, log_det = flow(make_x(config))
    torch.testing.assert_close(flow.inverse(z)[1], -log_det, rtol=1e-9, atol=1e-9)


def test_flow_with_random_weights_is_not_the_identity(
    truth_config: FlowConfig, make_flow: MakeFlow, make_x: MakeX
) -> None:
    x = make_x(truth_config)
    z, log_det = make_flow(truth_config)(x)
    assert (z - x).abs().mean() > 0.1
    assert (log_det.abs() > 0.1).all()


def test_train_and_eval_mode_are_the_same_map(truth_config: FlowConfig, make_flow: MakeFlow, make_x: MakeX) -> None:
    flow, x = make_flow(truth_config), make_x(truth_config)
    in_train, in_eval = flow.train().log_prob(x), flow.eval().log_prob(x)
    assert torch.equal(in_train, in_eval)
    assert torch.equal(flow.train().inverse(x)[0], flow.eval().inverse(x)[0])


def test_log_prob_of_a_flow_minus_its_own_is_exactly_0(
    truth_config: FlowConfig, make_flow: MakeFlow, make_x: MakeX
) -> None:
    flow, x = make_flow(truth_config, torch.float32), make_x(truth_config, 4, torch.float32)
    assert torch.equal(flow.log_prob(x) - flow.log_prob(x), torch.zeros(4, dtype=torch.float64))


def test_images_of_a_batch_do_not_influence_each_other(
    truth_config: FlowConfig, make_flow: MakeFlow, make_x: MakeX
) -> None:
    flow, x = make_flow(truth_config), make_x(truth_config)
    one_by_one = torch.cat([flow.log_prob(image[None]) for image in x])
    torch.testing.assert_close(flow.log_prob(x), one_by_one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sampled_images_return_to_their_latents(dtype: torch.dtype, make_flow: MakeFlow) -> None:
    flow = make_flow(FlowConfig(shape=(1, 14, 14), width=4, blocks=1), dtype)
    x = flow.sample(8, torch.Generator().manual_seed(0))
    z = flow.sample_base(8, torch.Generator().manual_seed(0))
    tolerance = 1e-3 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(flow(x)[0], z, rtol=tolerance, atol=tolerance)
