"""NSGAN with the optimal discriminator: its generator gradient is ∇[KL(q‖p) − 2·JSD]."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from nllgen.errors import ConfigError
from nllgen.models import DensityModel, Model, RealNVP
from nllgen.models.dcgan import DCGAN
from nllgen.paradigms import make_paradigm
from nllgen.paradigms.base import Context
from nllgen.paradigms.nsgan_oracle import NSGANOracle
from nllgen.study.config import DCGANConfig, FlowConfig, OracleConfig
from tests.paradigms.games import MakeContext

SHAPE = (1, 1, 1)


class Gaussian(DensityModel):
    """N(mean, scale²) as a model of one pixel, in fp64."""

    def __init__(self, mean: float, scale: float) -> None:
        super().__init__()
        self.shape = SHAPE
        self.mean = nn.Parameter(torch.tensor(mean, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale), dtype=torch.float64))

    def log_prob(self, x: Tensor) -> Tensor:
        z = (x.flatten() - self.mean) * (-self.log_scale).exp()
        return -0.5 * z.square() - self.log_scale - 0.5 * math.log(2 * math.pi)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.at(torch.randn(n, generator=generator, dtype=torch.float64))

    def at(self, z: Tensor) -> Tensor:
        return (self.mean + self.log_scale.exp() * z).view(-1, *SHAPE)


P = (0.0, 1.0)
PAIRS = [(0.7, 1.0), (0.0, 0.5), (-1.5, 1.8), P]


def oracle_of(q: Model, context: Context, **options: Any) -> NSGANOracle:
    oracle = make_paradigm(OracleConfig(**options), q, context)
    assert isinstance(oracle, NSGANOracle)
    return oracle


def no_batch(n: int) -> Tensor:
    raise AssertionError(f"the oracle asked for {n} training images")


def reference_gradient(q: Gaussian) -> Tensor:
    """Compute ∇[KL(q‖p) − 2·JSD] for a standard normal p: KL in closed form, JSD by quadrature over x."""
    variance = (2 * q.log_scale).exp()
    kl = 0.5 * (q.mean**2 + variance - 1) - q.log_scale
    x = torch.linspace(-16, 16, 20_001, dtype=torch.float64)
    log_p, log_q = -0.5 * x**2 - 0.5 * math.log(2 * math.pi), q.log_prob(x)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    jsd = 0.5 * torch.trapezoid(log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m), x)
    return torch.stack(torch.autograd.grad(kl - 2 * jsd, [q.mean, q.log_scale]))


@pytest.mark.parametrize(("mean", "scale"), PAIRS)
def test_the_expected_gradient_is_that_of_kl_minus_twice_jsd(
    make_context: MakeContext, mean: float, scale: float
) -> None:
    """Compute the expectation over latents as a sum over an even grid with the normal's weights."""
    q = Gaussian(mean, scale)
    oracle = oracle_of(q, make_context(truth=Gaussian(*P).requires_grad_(False)))
    z = torch.linspace(-9, 9, 2_001, dtype=torch.float64)
    weights = torch.exp(-0.5 * z**2) / torch.exp(-0.5 * z**2).sum()
    gradient = torch.zeros(2, dtype=torch.float64)
    for part, weight in zip(z, weights, strict=True):
        if weight > 1e-12:
            grads = torch.autograd.grad(oracle.loss(q.at(part)), [q.mean, q.log_scale])
            gradient += weight * torch.stack(grads)
    torch.testing.assert_close(gradient, reference_gradient(q), rtol=1e-8, atol=1e-9)


def test_a_plain_step_goes_down_that_gradient(make_context: MakeContext) -> None:
    """Compare a step of SGD, from draws of the paradigm's own stream, within four standard errors of the mean."""
    q, n, lr = Gaussian(0.7, 1.3), 60_000, 1e-3
    before = torch.stack([q.mean, q.log_scale]).detach().clone()
    expected = reference_gradient(q)
    context = make_context(truth=Gaussian(*P).requires_grad_(False))
    oracle_of(q, context, optimizer="sgd", lr=lr, batch_size=n).step(no_batch, 0)
    stepped = (before - torch.stack([q.mean, q.log_scale]).detach()) / lr
    torch.testing.assert_close(stepped, expected, rtol=0, atol=4 * 1.5 / math.sqrt(n))


def test_the_densitys_own_parameters_get_no_gradient_through_r(make_context: MakeContext) -> None:
    """A copy of q inside r, which gets no gradient, gives the same gradient to the bit."""
    torch.manual_seed(0)
    config_flow = real_nvp(0.2)
    truth = real_nvp(0.1).requires_grad_(False)
    oracle = oracle_of(config_flow, make_context(truth=truth))
    stranger = copy.deepcopy(config_flow).requires_grad_(False)
    grads = []
    for density in (None, stranger):
        x = config_flow.sample(8, torch.Generator().manual_seed(1))
        loss = oracle.loss(x) if density is None else softplus(density.log_prob(x) - truth.log_prob(x)).mean()
        grads.append(torch.autograd.grad(loss, list(config_flow.parameters())))
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)
    assert all(p.requires_grad for p in config_flow.parameters())


def real_nvp(noise: float) -> RealNVP:
    torch.manual_seed(int(100 * noise))
    flow = RealNVP(FlowConfig(shape=(1, 4, 4), width=4, blocks=1, scales=1))
    flow.initialise(torch.randn(32, 1, 4, 4))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return flow


def test_at_the_truth_nothing_moves(make_context: MakeContext) -> None:
    truth = real_nvp(0.1)
    flow = copy.deepcopy(truth)
    oracle = oracle_of(flow, make_context(truth=truth.requires_grad_(False)), optimizer="sgd", batch_size=16)
    scalars = oracle.step(no_batch, 0)
    assert scalars["loss_gen"] == pytest.approx(math.log(2), rel=1e-12)
    assert scalars["grad_norm"] == 0.0


def test_without_a_truth_it_is_refused(make_context: MakeContext) -> None:
    with pytest.raises(ConfigError, match="source: synthetic"):
        oracle_of(real_nvp(0.1), make_context())


def test_a_model_without_a_density_is_refused(make_context: MakeContext) -> None:
    with pytest.raises(ConfigError, match="DCGAN has none"):
        oracle_of(DCGAN(DCGANConfig(shape=(1, 4, 4), width=4)), make_context(truth=real_nvp(0.1)))
