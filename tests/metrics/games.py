"""Games whose modes are known in closed form, and a small flow against its discriminator."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from nllgen.data.logits import from_logits
from nllgen.metrics.game import Game, nsgan_game
from nllgen.models import RealNVP
from nllgen.study.config import FlowConfig

SCALES = (0.7, 1.0, 1.6)


def leaf(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def dirac_game(
    sigma: float = 0.0, gamma: float = 0.0, lr_ratio: float = 1.0, at: tuple[float, float] = (0.0, 0.0)
) -> Game:
    theta, psi = leaf([at[0]]), leaf([at[1]])
    noise = torch.tensor([-sigma, sigma], dtype=torch.float64)

    def losses() -> Iterator[tuple[Tensor, Tensor]]:
        real, fake = psi * noise, psi * (theta + noise)
        loss_disc = softplus(-real).mean() + softplus(fake).mean() + gamma / 2 * psi.square().sum()
        yield loss_disc, softplus(-fake).mean()

    return Game((theta,), (psi,), losses, lr_ratio)


def gaussian_game(scales: Sequence[float] = SCALES) -> Game:
    """Create the game with Gauss-Hermite quadrature, which is exact for moments up to the fourth."""
    dim = len(scales)
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    z = torch.tensor(list(itertools.product(nodes, repeat=dim)), dtype=torch.float64)
    weight = torch.tensor([math.prod(w) for w in itertools.product(weights / weights.sum(), repeat=dim)]).double()
    s = torch.tensor(scales, dtype=torch.float64)
    A, b = s.diag().requires_grad_(), torch.zeros(dim, dtype=torch.float64, requires_grad=True)
    rows, cols = torch.triu_indices(dim, dim)
    psi = torch.zeros(1 + dim + len(rows), dtype=torch.float64, requires_grad=True)

    def d(x: Tensor) -> Tensor:
        squares = x[:, rows] * x[:, cols] - s.square().diag()[rows, cols]
        return torch.cat((torch.ones(len(x), 1), x, squares), 1) @ psi

    def losses() -> Iterator[tuple[Tensor, Tensor]]:
        real, fake = d(z * s), d(z @ A.T + b)
        yield (weight * (softplus(-real) + softplus(fake))).sum(), (weight * softplus(-fake)).sum()

    return Game((A, b), (psi,), losses)


def mode_pair(m: float, c: float, rho: float = 1.0) -> list[complex]:
    """Return both eigenvalues of ½ [[0, √ρ c], [−√ρ c, −ρ m]]."""
    root = np.sqrt(complex((rho * m) ** 2 - 4 * rho * c**2))
    return [(-rho * m + root) / 4, (-rho * m - root) / 4]


def gaussian_modes(scales: Sequence[float] = SCALES) -> list[complex]:
    pairs = [(s**2, 1.0) for s in scales] + [(2 * s**4, 2 * s) for s in scales]
    pairs += [(a**2 * b**2, math.hypot(a, b)) for a, b in itertools.combinations(scales, 2)]
    return [-0.5, *(mode for pair in pairs for mode in mode_pair(*pair))]


def small_players(width: int = 1, disc_width: int = 3, trained: bool = False) -> Game:
    torch.manual_seed(0)
    flow = RealNVP(FlowConfig(shape=(1, 2, 2), width=width, blocks=0, scales=1))
    disc = nn.Sequential(
        nn.Conv2d(1, disc_width, 2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(disc_width, 1), nn.Flatten(0)
    )
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.3 * torch.randn_like(p))
        for p in disc[3].parameters():
            p.mul_(0.1 if trained else 0.0)
    z = torch.randn(200, 1, 2, 2)  # two parts
    return nsgan_game(flow, disc, lambda x: 2 * from_logits(x, 0.05) - 1, z)
