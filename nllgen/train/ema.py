"""Exponential moving average of a flow's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """Average w̄ ← β w̄ + (1 − β) w with β = min(decay, (1 + t) / (10 + t)).

    β is small at first, so that the initial weights are soon forgotten.
    """

    def __init__(self, flow: nn.Module, decay: float):
        self.flow = copy.deepcopy(flow).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, flow: nn.Module, step: int) -> None:
        """Update the average with the weights after ``step`` steps."""
        beta = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.flow.parameters()), list(flow.parameters()), 1 - beta)
