"""Abstract models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Model(nn.Module, ABC):
    """A generative model of (C, H, W) arrays in logit space.

    Attributes:
        shape: (C, H, W).
    """

    shape: tuple[int, int, int]

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n samples (n, C, H, W). Random numbers come from ``generator``, which is on the model's device."""

    def initialise(self, x: Tensor) -> None:
        """Initialise what depends on data from a batch ``x`` (N, C, H, W), once, before training."""

    @property
    def num_parameters(self) -> int:
        """Count the model's parameters."""
        return sum(p.numel() for p in self.parameters())

    @property
    def provenance(self) -> dict[str, str]:
        """Return name → version or digest of code that is not part of nllgen."""
        return {}


class DensityModel(Model):
    """A model with an exact log-density."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of x (N, C, H, W) → (N,) in float64, nats."""


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Set a module and its submodules to evaluation mode, and afterwards each to the mode that it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
