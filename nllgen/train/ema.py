"""Exponential moving average of a flow's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class EMA:
    """Average w̄ ← β w̄ + (1 − β) w with β = min(decay, (1 + t) / (10 + t)).

    β is small at first, so that the initial weights are soon forgotten.
    """

    def __init__(self, flow: nn.Module, decay: float):
        self.flow = copy.deepcopy(flow).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, flow: nn.Module, step: int, stopped: Tensor | None = None) -> None:
        """Update the average with the weights after ``step`` steps, unless ``stopped`` is 1.0 on their device."""
        beta = min(self._decay, (1 + step) / (10 + step))
        averages: list[Tensor] = list(self.flow.parameters())
        weights: list[Tensor] = list(flow.parameters())
        if stopped is None:
            torch._foreach_lerp_(averages, weights, 1 - beta)
        else:
            torch._foreach_lerp_(averages, weights, [(1 - stopped) * (1 - beta)] * len(averages))
