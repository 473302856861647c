from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from nllgen.models import RealNVP
from nllgen.study.config import FlowConfig

MakeFlow = Callable[..., RealNVP]

TWO_PIXELS = FlowConfig(shape=(1, 1, 2), width=4, blocks=1, scales=1)
HALF_WIDTH, NUM = 60.0, 401  # of a quadrature grid that holds all but 1e-4 of the density


def grid(half_width: float, n: int) -> tuple[Tensor, float]:
    """Return all points (n², 1, 1, 2) of a square grid around 0, and the area of a cell."""
    axis = torch.linspace(-half_width, half_width, n, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis).view(-1, 1, 1, 2), float(axis[1] - axis[0]) ** 2


@pytest.mark.parametrize("scales", [1, 2])
@pytest.mark.parametrize("coupling", ["affine", "additive"])
def test_density_over_2x2_pixels_integrates_to_1(scales: int, coupling: str, make_flow: MakeFlow) -> None:
    config = FlowConfig.model_validate(
        {"shape": (1, 2, 2), "width": 4, "blocks": 1, "scales": scales, "coupling": coupling}
    )
    flow, generator = make_flow(config, noise=0.2), torch.Generator().manual_seed(0)
    samples = flow.sample(4_000, generator).flatten(1)
    # importance sampling; a wide proposal, whose density is independent of the flow's
    proposal = MultivariateNormal(samples.mean(0), 2.0 * samples.T.cov())
    noise = torch.randn(100_000, 4, generator=generator, dtype=torch.float64)
    x = proposal.loc + noise @ proposal.scale_tril.T
    log_proposal: Tensor = proposal.log_prob(x)  # type: ignore[no-untyped-call]
    weights = (flow.log_prob(x.view(-1, 1, 2, 2)) - log_proposal).exp()
    standard_error = float(weights.std()) / math.sqrt(len(weights))
    assert standard_error < 0.02
    assert abs(float(weights.mean()) - 1) < 5 * standard_error


def test_density_over_two_pixels_integrates_to_1_by_quadrature(make_flow: MakeFlow) -> None:
    flow = make_flow(TWO_PIXELS, noise=0.2)
    points, area = grid(HALF_WIDTH, NUM)
    assert abs(float(flow.log_prob(points).exp().sum()) * area - 1) < 1e-3


def test_samples_have_the_moments_of_the_density(make_flow: MakeFlow) -> None:
    flow = make_flow(TWO_PIXELS, noise=0.2)
    points, area = grid(HALF_WIDTH, NUM)
    density = flow.log_prob(points).exp() * area
    powers = torch.cat((points.flatten(1), points.flatten(1) ** 2), dim=1)
    expected = (density[:, None] * powers).sum(0)
    samples = flow.sample(50_000, torch.Generator().manual_seed(0)).flatten(1)
    drawn = torch.cat((samples, samples**2), dim=1)
    standard_error = drawn.std(0) / math.sqrt(len(drawn))
    assert ((drawn.mean(0) - expected).abs() < 5 * standard_error + 1e-3 * expected.abs()).all()


def test_samples_have_the_marginal_of_the_density(make_flow: MakeFlow) -> None:
    flow = make_flow(TWO_PIXELS, noise=0.2)
    points, area = grid(HALF_WIDTH, NUM)
    density = (flow.log_prob(points).exp() * area).view(NUM, NUM)
    axis = torch.linspace(-HALF_WIDTH, HALF_WIDTH, NUM, dtype=torch.float64)
    samples = flow.sample(50_000, torch.Generator().manual_seed(0)).flatten(1)
    for pixel in range(2):
        below = density.sum(1 - pixel).cumsum(0)
        edges = axis + (axis[1] - axis[0]) / 2  # a cell ends half a step above its point
        drawn = (samples[:, pixel, None] <= edges[::10]).double().mean(0)
        assert (drawn - below[::10]).abs().max() < 0.01  # Kolmogorov–Smirnov: 0.0087 at one in a thousand


def test_fresh_flow_has_the_standard_normal_density(config: FlowConfig) -> None:
    flow = RealNVP(config).double()
    x = torch.randn(4, *config.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = Normal(0.0, 1.0).log_prob(x).sum((1, 2, 3))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(flow.log_prob(x), expected)


def test_log_prob_of_samples_is_that_of_their_latents_minus_the_log_det_of_the_inverse(make_flow: MakeFlow) -> None:
    flow = make_flow(FlowConfig(shape=(1, 14, 14), width=4, blocks=1))
    z = flow.sample_base(8, torch.Generator().manual_seed(0))
    x, log_det = flow.inverse(z)
    torch.testing.assert_close(flow.log_prob(x), flow.base_log_prob(z) - log_det, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize("base", [{}, {"base": "student_t", "dof": 8.0}])
def test_a_scaled_base_is_a_density_too(base: dict[str, Any], make_flow: MakeFlow) -> None:
    flow = make_flow(FlowConfig.model_validate(TWO_PIXELS.model_dump() | base | {"base_scale": 0.7}), noise=0.2)
    points, area = grid(HALF_WIDTH, NUM)
    assert abs(float(flow.log_prob(points).exp().sum()) * area - 1) < 3e-3


def test_a_scaled_base_is_the_normal_of_that_deviation(make_flow: MakeFlow) -> None:
    flow = make_flow(TWO_PIXELS.model_copy(update={"base_scale": 0.7}))
    z = torch.randn(5, 1, 1, 2, dtype=torch.float64)
    expected = Normal(0.0, 0.7).log_prob(z).sum((1, 2, 3))  # type: ignore[no-untyped-call]
    assert torch.allclose(flow.base_log_prob(z), expected)


def test_latents_of_a_scaled_base_are_the_same_draws_times_the_scale(make_flow: MakeFlow) -> None:
    one, scaled = make_flow(TWO_PIXELS), make_flow(TWO_PIXELS.model_copy(update={"base_scale": 0.7}))
    first, second = (flow.sample_base(9, torch.Generator().manual_seed(1)) for flow in (one, scaled))
    assert torch.equal(second, 0.7 * first)
