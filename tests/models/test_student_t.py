"""The multivariate Student's t as the density of the latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats

from nllgen.errors import ConfigError
from nllgen.models import RealNVP, embed
from nllgen.models.base import student_t_from_normal, student_t_log_prob
from nllgen.study.config import FlowConfig
from nllgen.study.degrees import student

MakeFlow = Callable[..., RealNVP]


def config(shape: tuple[int, int, int] = (1, 4, 4), dof: float = 5.0, width: int = 4, **rest: Any) -> FlowConfig:
    return FlowConfig(shape=shape, width=width, blocks=1, scales=1, base="student_t", dof=dof, **rest)


@pytest.mark.parametrize("dof", [1.0, 4.5, 50.0])
def test_in_one_dimension_it_integrates_to_one(dof: float) -> None:
    edges = torch.linspace(-math.pi / 2, math.pi / 2, 20_001, dtype=torch.float64)
    angle = (edges[1:] + edges[:-1]) / 2
    z = angle.tan()  # the whole line
    density = student_t_log_prob(z.view(-1, 1, 1, 1), dof).exp()
    assert (density / angle.cos() ** 2).sum().item() * math.pi / 20_000 == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("dof", [1.5, 6.0])
def test_in_five_dimensions_it_integrates_to_one(dof: float) -> None:
    """Integrate over the radius, times the area of the sphere."""
    edges = torch.linspace(0, math.pi / 2, 20_001, dtype=torch.float64)
    angle = (edges[1:] + edges[:-1]) / 2
    z = torch.zeros(len(angle), 5, 1, 1, dtype=torch.float64)
    z[:, 0, 0, 0] = radius = angle.tan()
    area = 2 * math.pi**2.5 / math.gamma(2.5)
    density = student_t_log_prob(z, dof).exp() * area * radius**4 / angle.cos() ** 2
    assert density.sum().item() * math.pi / 2 / 20_000 == pytest.approx(1, rel=1e-4)


def test_it_is_scipys_density() -> None:
    z = torch.randn(6, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = stats.multivariate_t(loc=[0] * 4, shape=1, df=3.5).logpdf(z.flatten(1).numpy())
    assert student_t_log_prob(z, 3.5).numpy() == pytest.approx(expected, rel=1e-12)


def test_with_many_degrees_of_freedom_it_is_the_normal() -> None:
    z = torch.randn(6, 1, 3, 3, dtype=torch.float64)
    normal = RealNVP(config(dof=1.0).model_copy(update={"base": "normal", "dof": None})).base_log_prob(z)
    torch.testing.assert_close(student_t_log_prob(z, 1e6), normal, rtol=1e-4, atol=0)


@pytest.mark.parametrize("dof", [2.0, 7.0])
def test_each_latent_is_drawn_from_t(dof: float) -> None:
    """Apply Kolmogorov-Smirnov tests to the first latent of 20,000 draws, and to ‖z‖²/D, which is F(D, ν)."""
    z = RealNVP(config(dof=dof)).double().sample_base(20_000, torch.Generator().manual_seed(0)).flatten(1)
    assert stats.kstest(z[:, 0].numpy(), stats.t(dof).cdf).pvalue > 0.01
    assert stats.kstest((z.square().sum(1) / 16).numpy(), stats.f(16, dof).cdf).pvalue > 0.01


def test_its_latents_come_from_the_generator_alone() -> None:
    flow = RealNVP(config())
    before = torch.random.get_rng_state()
    a, b, c = (flow.sample(9, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_normal_latents_are_torchs_draws() -> None:
    flow = RealNVP(FlowConfig(shape=(1, 4, 4), width=4, blocks=1))
    expected = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(flow.sample_base(5, torch.Generator().manual_seed(1)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_density_and_samples_keep_their_types(dtype: torch.dtype) -> None:
    flow = RealNVP(config()).to(dtype)
    x = flow.sample(3, torch.Generator().manual_seed(0))
    assert (x.dtype, flow.log_prob(x).dtype) == (dtype, torch.float64)


def test_samples_have_the_density_that_they_are_scored_with(make_flow: MakeFlow) -> None:
    flow = make_flow(config())
    z = flow.sample_base(20, torch.Generator().manual_seed(0))
    x, log_det = flow.inverse(z)
    torch.testing.assert_close(flow.log_prob(x), student_t_log_prob(z, 5.0) - log_det)


def test_the_gradient_of_a_far_point_is_bounded() -> None:
    z = torch.full((1, 1, 2, 2), 1e4, requires_grad=True)
    student_t_log_prob(z, 5.0).sum().backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    assert z.grad.norm().item() < 1e-3  # the normal's is 2e4


def test_a_larger_flow_of_the_same_base_contains_it(make_flow: MakeFlow) -> None:
    small = make_flow(config())
    large = embed(small, config(width=8))
    x = torch.randn(4, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(large.log_prob(x), small.log_prob(x))


@pytest.mark.parametrize("changes", [{"dof": 6.0}, {"base": "normal", "dof": None}])
def test_flows_of_other_bases_do_not_nest(make_flow: MakeFlow, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"dof|base"):
        embed(make_flow(config()), FlowConfig.model_validate(config().model_dump() | changes))


def test_a_student_has_the_truths_base() -> None:
    assert student(config(), "U1").dof == 5.0


def test_chi_squared_has_one_draw_an_image() -> None:
    z = torch.ones(3, 1, 2, 2)
    drawn = student_t_from_normal(z, 3.0, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, drawn[:, :, :1, :1].expand_as(z))
    assert len(set(drawn[:, 0, 0, 0].tolist())) == 3
