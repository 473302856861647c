from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nllgen.models import RealNVP
from nllgen.models.actnorm import ActNorm
from nllgen.models.coupling import CHECKERBOARD, squeeze
from nllgen.study.config import FlowConfig

MakeX = Callable[..., Tensor]


@pytest.fixture
def x() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.01, 1.0, 30.0], dtype=torch.float64).view(1, 3, 1, 1)
    return 5 + spread * torch.randn(16, 3, 4, 6, dtype=torch.float64, generator=generator)


def initialised(x: Tensor, channels: int = 3, num_pixels: int = 24, valid: Tensor | None = None) -> ActNorm:
    norm = ActNorm(channels, num_pixels).double().requires_grad_(False)
    norm.initialise(x, valid)
    return norm


def test_data_leave_with_mean_0(x: Tensor) -> None:
    y, _ = initialised(x)(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64))


def test_data_leave_with_standard_deviation_1(x: Tensor) -> None:
    y, _ = initialised(x)(x)
    torch.testing.assert_close(y.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64))


def test_uninitialised_is_the_identity(x: Tensor) -> None:
    y, log_det = ActNorm(3, 24).double()(x)
    assert torch.equal(y, x)
    assert log_det == 0


def test_second_initialisation_changes_nothing(x: Tensor) -> None:
    norm = initialised(x)
    before = norm(x)[0]
    norm.initialise(7 * x - 3)
    assert torch.equal(norm(x)[0], before)


def test_initialisation_after_loading_changes_nothing(x: Tensor) -> None:
    file = BytesIO()
    torch.save(initialised(x).state_dict(), file)
    file.seek(0)
    norm = ActNorm(3, 24).double().requires_grad_(False)
    norm.load_state_dict(torch.load(file, weights_only=True))
    before = norm(x)[0]
    norm.initialise(7 * x - 3)
    assert torch.equal(norm(x)[0], before)


@pytest.mark.parametrize("value", [0.0, -13.8155, 1e6])
def test_constant_channel_stays_finite(value: float) -> None:
    x = torch.full((8, 1, 4, 4), value)
    y, log_det = initialised(x, 1, 16)(x)
    assert y.isfinite().all()
    assert log_det.isfinite()


def test_squeezed_image_gives_the_same_map_as_the_image(x: Tensor) -> None:
    of_image, of_squeezed = initialised(x), initialised(squeeze(x))
    torch.testing.assert_close(of_image.log_scale, of_squeezed.log_scale)
    torch.testing.assert_close(of_image.bias, of_squeezed.bias)


def test_squeezed_image_is_mapped_as_the_image(x: Tensor) -> None:
    norm = initialised(x)
    assert torch.equal(norm(squeeze(x, CHECKERBOARD))[0], squeeze(norm(x)[0], CHECKERBOARD))


def test_padding_has_no_part_in_the_moments(x: Tensor) -> None:
    odd = x[:, :, :3, :5]
    padding = (0, 1, 0, 1)
    valid = squeeze(F.pad(torch.ones(1, *odd.shape[1:], dtype=torch.float64), padding))
    of_image, of_padded = initialised(odd), initialised(squeeze(F.pad(odd, padding)), valid=valid)
    torch.testing.assert_close(of_image.log_scale, of_padded.log_scale)
    torch.testing.assert_close(of_image.bias, of_padded.bias)


def test_one_batch_initialises_every_actnorm_of_a_flow(truth_config: FlowConfig, make_x: MakeX) -> None:
    flow = RealNVP(truth_config).double()
    flow.initialise(make_x(truth_config))
    assert all(m.initialised for m in flow.modules() if isinstance(m, ActNorm))


def test_log_prob_alone_initialises_nothing(make_x: MakeX) -> None:
    flow = RealNVP(FlowConfig(shape=(1, 4, 4), width=4)).double()
    flow.log_prob(make_x(flow.config))
    assert not any(m.initialised for m in flow.modules() if isinstance(m, ActNorm))


def test_flow_keeps_its_map_when_it_is_initialised_again(make_x: MakeX) -> None:
    flow = RealNVP(FlowConfig(shape=(1, 4, 4), width=4)).double().requires_grad_(False)
    x = make_x(flow.config)
    flow.initialise(x)
    before = flow.log_prob(x)
    flow.initialise(3 * x)
    assert torch.equal(flow.log_prob(x), before)


def test_black_images_give_a_finite_log_prob() -> None:
    flow = RealNVP(FlowConfig(shape=(1, 14, 14), width=4)).requires_grad_(False)
    black = torch.full((8, 1, 14, 14), -13.8155)  # the logit of α = 1e-6
    flow.initialise(black)
    assert flow.log_prob(black).isfinite().all()
