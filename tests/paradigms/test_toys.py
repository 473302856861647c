"""Convergence of every paradigm to two-dimensional targets of known density, from a distant start."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nllgen.models import DensityModel, RealNVP
from nllgen.paradigms import make_paradigm
from nllgen.study.config import (
    FlowConfig,
    HybridConfig,
    NLLConfig,
    NSGANConfig,
    OracleConfig,
    R3GANConfig,
    WGANGPConfig,
)
from nllgen.train.ema import EMA
from tests.paradigms.games import MakeContext

SHAPE = (2, 1, 1)
NOISE = 0.25


class Ring:
    """A ring: radius N(1, NOISE²), of either sign, at a uniform angle."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        angle = 2 * math.pi * torch.rand(n, generator=generator)
        radius = 1 + NOISE * torch.randn(n, generator=generator)
        return torch.stack((radius * angle.cos(), radius * angle.sin()), 1).view(n, *SHAPE)

    def log_prob(self, x: Tensor) -> Tensor:
        radius = x.flatten(1).double().norm(dim=1)
        normal = torch.distributions.Normal(1.0, NOISE)
        outwards, inwards = normal.log_prob(radius), normal.log_prob(-radius)  # type: ignore[no-untyped-call]
        return torch.logaddexp(outwards, inwards) - torch.log(2 * math.pi * radius)


class Moons:
    """Two half circles with normal noise; the density is a mean over 2 · 400 points of them."""

    def _curves(self, t: Tensor) -> tuple[Tensor, Tensor]:
        upper = torch.stack((t.cos(), t.sin()), -1)
        return upper - torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.25]) - upper

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        upper, lower = self._curves(math.pi * torch.rand(n, generator=generator))
        curve = torch.where(torch.rand(n, 1, generator=generator) < 0.5, upper, lower)
        return (curve + NOISE * torch.randn(n, 2, generator=generator)).view(n, *SHAPE)

    def log_prob(self, x: Tensor) -> Tensor:
        centres = torch.cat(self._curves((torch.arange(400) + 0.5) * math.pi / 400)).double()
        squares = (x.flatten(1).double()[:, None] - centres).square().sum(-1)
        return torch.logsumexp(-squares / (2 * NOISE**2), 1) - math.log(800 * 2 * math.pi * NOISE**2)


GAME: dict[str, Any] = {"batch_size": 128, "disc_input": "logits", "disc_width": 16, "disc_lr": 5e-3}
# what it ends below, in nats, on the ring and on the moons; the start is at 9.7 and 10.9
RUNS = {
    "nll": (NLLConfig(steps=100, batch_size=128, lr=1e-2), "forward", (0.4, 0.2)),
    "nsgan": (NSGANConfig(steps=150, lr=2e-3, r1_gamma=0.1, **GAME), "forward", (0.9, 0.7)),
    "r3gan": (R3GANConfig(steps=150, lr=2e-3, r1_gamma=0.1, r2_gamma=0.1, **GAME), "forward", (0.9, 0.7)),
    "hybrid": (HybridConfig(steps=80, lr=5e-3, nll_weight=2.0, **GAME), "forward", (0.5, 0.25)),
    # their losses are nearer to KL(q‖p) and to a transport distance than to KL(p‖q)
    "nsgan_oracle": (OracleConfig(steps=120, batch_size=128, lr=5e-3), "reverse", (0.7, 0.25)),
    "wgan_gp": (
        WGANGPConfig(steps=60, lr=3e-3, beta1=0.5, disc_steps=3, gp_weight=1.0, **GAME),
        "energy",
        (0.15, 0.1),
    ),
}


def distances(flow: DensityModel, target: Ring | Moons) -> dict[str, float]:
    """Estimate both KL in nats and the energy distance (Székely & Rizzo 2013) from 2,000 draws each."""
    with torch.no_grad():
        x, y = (
            target.sample(2000, torch.Generator().manual_seed(5)),
            flow.sample(2000, torch.Generator().manual_seed(6)),
        )
        forward = (target.log_prob(x) - flow.log_prob(x)).mean().item()
        reverse = (flow.log_prob(y) - target.log_prob(y)).mean().item()
        a, b = x.flatten(1), y.flatten(1)
        energy = 2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()
    return {"forward": forward, "reverse": reverse, "energy": energy.item()}


@pytest.mark.parametrize("index", [0, 1], ids=["ring", "moons"])
def test_the_targets_densities_integrate_to_one(index: int) -> None:
    grid = 0.05 * (torch.arange(120, dtype=torch.float64) + 0.5) - 3  # no point at the ring's pole
    x = torch.cartesian_prod(grid, grid).view(-1, *SHAPE)
    with torch.no_grad():
        mass = (Ring, Moons)[index]().log_prob(x).exp().sum() * 0.05**2
    assert mass.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("index", [0, 1], ids=["ring", "moons"])
@pytest.mark.parametrize("name", RUNS)
def test_a_paradigm_brings_the_flow_to_its_target(make_context: MakeContext, name: str, index: int) -> None:
    config, measure, limits = RUNS[name]
    target = (Ring, Moons)[index]()
    torch.manual_seed(0)
    flow = RealNVP(FlowConfig(shape=SHAPE, width=16, blocks=1, scales=1))
    generator = torch.Generator().manual_seed(1)
    flow.initialise(0.5 * target.sample(256, generator) + 1)
    before = distances(flow, target)
    assert before["forward"] > 5
    paradigm = make_paradigm(config, flow, make_context(truth=target, max_logit=2.0))
    average = EMA(flow, 0.9)
    for step in range(config.steps):
        paradigm.step(lambda n: target.sample(n, generator), step)
        average.update(flow, step + 1)
    assert isinstance(average.flow, RealNVP)
    after = distances(average.flow, target)
    assert after[measure] < limits[index], (before, after)
