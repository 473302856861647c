"""What a metric asks of a model: draws, and where it has one, a density."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Sampler(Protocol):
    """A model that can be drawn from."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws (n, C, H, W), logits; latents come from ``generator``."""


@runtime_checkable
class Density(Sampler, Protocol):
    """A model that also knows how probable an image is."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log q of images (N, C, H, W) → (N,), nats."""


def num_parameters(model: Sampler) -> int | None:
    """Trainable numbers of a model; None where it is no network."""
    return sum(p.numel() for p in model.parameters()) if isinstance(model, nn.Module) else None
