"""Conversion of 8-bit levels to logits and back, with its log-determinant (Dinh, Sohl-Dickstein & Bengio 2017, §4.1).

u ∈ {0, …, 255} is dequantised to v = (u + U[0,1)) / 256, squeezed to w = α + (1 − 2α) v, and y = log w − log(1 − w).
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 256

Number = TypeVar("Number", float, Tensor)


def dequantise(u: Tensor, generator: torch.Generator) -> Tensor:
    """Add uniform noise to uint8 levels u, and scale to v in [0, 1), float32, such that ⌊256 v⌋ equals u.

    The noise is drawn on the generator's device, so that it does not depend on that of the images.
    """
    noise = torch.rand(u.shape, generator=generator, device=generator.device).to(u.device)
    # In fp32, 255 + 0.9999999 is 256: clamp the noise below the next level.
    return noise.clamp_(max=1 - 2**-16).add_(u).div_(LEVELS)


def to_logits(v: Tensor, alpha: float) -> Tensor:
    """Compute y = log w − log(1 − w) with w = α + (1 − 2α) v, for v in [0, 1]."""
    scale = 1 - 2 * alpha
    # Compute 1 − w from 1 − v, which is exact near 1. Computed from w, it would lose all digits of α = 1e-6 in fp32.
    return torch.log((alpha + scale * v) / (alpha + scale * (1 - v)))


def from_logits(y: Tensor, alpha: float) -> Tensor:
    """Invert :func:`to_logits`, and clip to [0, 1] the logits that it cannot return."""
    return unclipped_pixels(y, alpha).clamp(0, 1)


def unclipped_pixels(y: Tensor, alpha: float) -> Tensor:
    """Invert :func:`to_logits`; other logits leave [0, 1] by less than α / (1 − 2α)."""
    return (torch.sigmoid(y) - alpha) / (1 - 2 * alpha)


def log_det_levels(y: Tensor, alpha: float) -> Tensor:
    """Compute log|dy/du| of logits (N, …) → (N,) float64 nats, with u in 0…256, the interval that all levels cover.

    dy/du = (1 − 2α) / (256 w (1 − w)), where w is the sigmoid of y.
    """
    flat = y.flatten(1).double()
    per_dim = math.log1p(-2 * alpha) - math.log(LEVELS) - F.logsigmoid(flat) - F.logsigmoid(-flat)
    return per_dim.sum(1)
