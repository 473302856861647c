"""Models whose measurements are not finite, by import path."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normal(nn.Module):
    """A normal distribution about a learned mean."""

    def __init__(self, shape: tuple[int, int, int]):
        super().__init__()
        self.image_shape = shape
        self.mean = nn.Parameter(torch.zeros(shape))
        self.register_buffer("initialised", torch.tensor(False))

    def initialise(self, x: Tensor) -> None:
        self.get_buffer("initialised").fill_(True)

    def log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * ((x - self.mean) ** 2).flatten(1).sum(1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.mean + 0.1 * torch.randn(n, *self.image_shape, generator=generator)


class Bounded(Normal):
    """A density that is 0 beyond ±1, where every held-out image lies; it trains on all images."""

    def log_prob(self, x: Tensor) -> Tensor:
        inside = (x.flatten(1).abs() < 1).all(1) | self.training
        return super().log_prob(x).where(inside, -torch.inf)


class NotANumber(Normal):
    """A density that is NaN once the model has seen data."""

    def log_prob(self, x: Tensor) -> Tensor:
        return super().log_prob(x).where(~self.get_buffer("initialised"), torch.nan)


class Huge(Normal):
    """Densities of 1e300 nats, whose squares overflow."""

    def log_prob(self, x: Tensor) -> Tensor:
        value = super().log_prob(x).double()
        return value + 1e300 * (1 + x[:, 0, 0, 0].double().abs()) * self.get_buffer("initialised")
