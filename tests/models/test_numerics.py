from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
import torch
from torch import Tensor

from nllgen.models import RealNVP
from nllgen.models.coupling import Coupling
from nllgen.study.config import FlowConfig

MakeFlow = Callable[..., RealNVP]
MakeX = Callable[..., Tensor]

SMALL = FlowConfig(shape=(1, 14, 14), width=8, blocks=1)


def test_log_prob_is_float64_while_its_terms_are_float32(make_flow: MakeFlow, make_x: MakeX) -> None:
    flow, x = make_flow(SMALL, torch.float32), make_x(SMALL, 4, torch.float32)
    z, log_det = flow(x)
    assert (z.dtype, log_det.dtype, flow.log_prob(x).dtype) == (torch.float32, torch.float64, torch.float64)


@pytest.mark.parametrize("additive", [False, True])
def test_coupling_sums_its_log_det_in_float64(additive: bool) -> None:
    coupling = Coupling(4, 3, 1, flip=False, additive=additive)
    assert coupling(torch.zeros(2, 4, 3, 3))[1].dtype == torch.float64


def test_fp32_log_prob_is_close_to_fp64(config: FlowConfig, make_flow: MakeFlow, make_x: MakeX) -> None:
    flow, x = make_flow(config, torch.float32), make_x(config, 4, torch.float32)
    in_fp32 = flow.log_prob(x)
    torch.testing.assert_close(in_fp32, flow.double().log_prob(x.double()), rtol=1e-5, atol=1e-5 * config.num_dims)


def test_bf16_autocast_log_prob_is_close_to_fp32(config: FlowConfig, make_flow: MakeFlow, make_x: MakeX) -> None:
    flow, x = make_flow(config, torch.float32, noise=0.1), make_x(config, 8, torch.float32)
    exact = flow.log_prob(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = flow.log_prob(x)
    assert (rounded - exact).abs().max() < 0.03 * exact.abs().mean()


def test_bf16_autocast_keeps_the_map_in_float32(make_flow: MakeFlow, make_x: MakeX) -> None:
    flow, x = make_flow(SMALL, torch.float32), make_x(SMALL, 4, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert flow(x)[0].dtype == flow.inverse(x)[0].dtype == torch.float32


def test_bf16_autocast_is_inverted_by_bf16_autocast(make_flow: MakeFlow, make_x: MakeX) -> None:
    """The inverse is exact to fp32, not only to bf16: both directions round the same network in the same way."""
    flow, x = make_flow(SMALL, torch.float32), make_x(SMALL, 4, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        back, _ = flow.inverse(flow(x)[0])
    assert (back - x).abs().median() < 1e-4


def test_layout_of_the_input_does_not_matter(truth_config: FlowConfig, make_flow: MakeFlow, make_x: MakeX) -> None:
    flow, x = make_flow(truth_config), make_x(truth_config)
    other = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(flow.log_prob(other), flow.log_prob(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(flow.inverse(other)[0], flow.inverse(x)[0], rtol=1e-12, atol=1e-12)


def test_strided_input_is_as_good_as_a_contiguous_one(make_flow: MakeFlow, make_x: MakeX) -> None:
    flow, x = make_flow(SMALL), make_x(SMALL)
    strided = torch.stack((x, x), dim=-1)[..., 0]
    torch.testing.assert_close(flow.log_prob(strided), flow.log_prob(x), rtol=1e-12, atol=1e-12)


def test_everything_a_flow_needs_follows_it_to_a_device(truth_config: FlowConfig) -> None:
    flow = RealNVP(truth_config).to("meta")
    log_prob = flow.log_prob(torch.empty(2, *truth_config.shape, device="meta"))
    assert log_prob.is_meta  # a tensor left behind would be refused: meta and CPU do not mix


def test_samples_are_drawn_on_the_device_of_the_flow(truth_config: FlowConfig) -> None:
    assert RealNVP(truth_config).to("meta").sample(2).is_meta


def test_every_floating_tensor_of_a_flow_follows_its_dtype(truth_config: FlowConfig) -> None:
    flow = RealNVP(truth_config).double()
    tensors = [*flow.parameters(), *flow.buffers()]
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float64}


def test_same_generator_state_gives_the_same_samples(make_flow: MakeFlow) -> None:
    flow = make_flow(SMALL)
    first, second = (flow.sample(3, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)


def test_one_generator_gives_new_samples_at_each_call(make_flow: MakeFlow) -> None:
    flow, generator = make_flow(SMALL), torch.Generator().manual_seed(5)
    assert not torch.equal(flow.sample(3, generator), flow.sample(3, generator))


def test_sampling_with_a_generator_leaves_the_global_one_alone(make_flow: MakeFlow) -> None:
    flow = make_flow(SMALL)
    before = torch.get_rng_state()
    flow.sample(3, torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("n", [1, 3])
def test_sample_has_the_shape_of_n_images(n: int, truth_config: FlowConfig) -> None:
    assert RealNVP(truth_config).sample(n).shape == (n, *truth_config.shape)


def test_loaded_flow_has_the_identical_log_prob(truth_config: FlowConfig, make_flow: MakeFlow, make_x: MakeX) -> None:
    flow, x = make_flow(truth_config, torch.float32), make_x(truth_config, 4, torch.float32)
    file = BytesIO()
    torch.save(flow.state_dict(), file)
    file.seek(0)
    loaded = RealNVP(truth_config)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(loaded.log_prob(x), flow.log_prob(x))


def test_num_parameters_counts_every_trainable_number(truth_config: FlowConfig) -> None:
    flow = RealNVP(truth_config)
    assert flow.num_parameters == sum(v.numel() for k, v in flow.state_dict().items() if "initialised" not in k)
