"""Base densities of a flow: standard normal, and multivariate Student's t (Alexanderson & Henter 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)


def normal_log_prob(z: Tensor) -> Tensor:
    """Return the standard-normal log-density of latents (N, C, H, W) → (N,) in float64, nats."""
    return -0.5 * (z.square() + _LOG_2PI).sum((1, 2, 3), dtype=torch.float64)


def student_t_log_prob(z: Tensor, dof: float) -> Tensor:
    """Return log t_ν(z) of the D-variate t distribution with location 0 and identity scale matrix.

    log Γ((ν + D)/2) − log Γ(ν/2) − D/2 log(νπ) − (ν + D)/2 log(1 + ‖z‖²/ν). Its gradient is bounded for all z, whereas
    a normal's grows without limit. Latents (N, C, H, W) → (N,) in float64, nats.
    """
    num_dims = z[0].numel()
    constant = math.lgamma((dof + num_dims) / 2) - math.lgamma(dof / 2) - num_dims / 2 * math.log(dof * math.pi)
    return constant - (dof + num_dims) / 2 * torch.log1p(z.square().sum((1, 2, 3), dtype=torch.float64) / dof)


def student_t_from_normal(z: Tensor, dof: float, generator: torch.Generator | None) -> Tensor:
    """Map standard-normal latents (N, C, H, W) to multivariate t latents z/√(c/ν), with one c ~ χ²(ν) per row.

    χ²(ν) is twice a Gamma(ν/2). ``torch.distributions.Gamma`` calls the same function, but accepts no generator.
    """
    shape = torch.full((z.shape[0], 1, 1, 1), dof / 2, device=z.device, dtype=z.dtype)
    chi2 = 2 * torch._standard_gamma(shape, generator=generator)
    return z * (dof / chi2).sqrt()
