"""Numerical errors of a flow."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from nllgen.models.realnvp import RealNVP


@torch.no_grad()
def numerical_errors(flow: RealNVP, x: Tensor) -> tuple[float, float]:
    """Return max |log q fp32 − log q fp64| in nats and max |x − inverse(forward(x))| over images x (N, C, H, W)."""
    double = copy.deepcopy(flow).double()
    density = (flow.log_prob(x) - double.log_prob(x.double())).abs().max()
    inverse = (flow.inverse(flow(x)[0])[0] - x).abs().max()
    return float(density), float(inverse)
