"""Flows of the zuko library as models: ``model: {factory: "nllgen.models.from_zuko:flow", options: {name: NSF}}``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ZukoFlow(nn.Module):
    """An unconditional zuko flow over flattened images, preceded by a fixed shift and scale of each pixel.

    zuko's splines are the identity outside ±5 and logits of MNIST exceed that, so ``initialise`` standardises the
    pixels.

    Args:
        flow: a ``zuko.flows.Flow`` with C·H·W features and a standard-normal base.
        shape: (C, H, W).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, flow: nn.Module, shape: tuple[int, int, int]):
        super().__init__()
        self.flow = flow
        self.image_shape = shape
        self.register_buffer("mean", torch.zeros(shape).flatten())
        self.register_buffer("std", torch.ones(shape).flatten())

    def initialise(self, x: Tensor) -> None:
        """Set mean and standard deviation of each pixel from a batch (N, C, H, W)."""
        self.mean.copy_(x.flatten(1).mean(0))
        self.std.copy_(x.flatten(1).std(0).clamp_min(1e-3))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of x (N, C, H, W) → (N,), nats."""
        value: Tensor = self.flow().log_prob((x.flatten(1) - self.mean) / self.std) - self.std.log().sum()
        return value

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n samples (n, C, H, W).

        zuko's own ``sample`` accepts no generator; the inverse of its transform needs none.
        """
        z = torch.randn(n, len(self.mean), generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        x: Tensor = self.flow().transform.inv(z) * self.std + self.mean
        return x.view(n, *self.image_shape)


def flow(*, shape: tuple[int, int, int], name: str = "NSF", **options: Any) -> ZukoFlow:
    """Create a flow of ``zuko.flows`` from the name (``NSF``, ``MAF``, ``NICE``, …) and the options of its class."""
    import zuko

    if not isinstance(made := getattr(zuko.flows, name, None), type):
        raise ValueError(f"zuko.flows has no {name}")
    return ZukoFlow(made(features=shape[0] * shape[1] * shape[2], **options), shape)
