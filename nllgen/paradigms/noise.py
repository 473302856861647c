"""A control: an optimiser's steps along normal random gradients, from the same start as a game.

A game that leaves its equilibrium has to move further than this: Adam's steps have the size of its rate whatever the
gradient is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from nllgen.models import Model
from nllgen.paradigms.base import Context, NextBatch, Paradigm, make_optimizer
from nllgen.paradigms.guard import Columns
from nllgen.study.config import NoiseConfig


class Noise(Paradigm):
    """Steps of a model along independent standard normal gradients. Training images are not used."""

    def __init__(self, config: NoiseConfig, flow: Model, context: Context):
        self.config = config
        self.flow = flow
        self.context = context
        self.optimizer = make_optimizer(config, flow, config.lr, context.guard)

    @override
    def step(self, next_batch: NextBatch, step: int) -> Columns:
        del next_batch, step
        stream = self.context.streams["latent"]
        for parameter in self.flow.parameters():
            if parameter.requires_grad:
                parameter.grad = _normal_like(parameter, stream)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.flow.parameters() if p.grad is not None])
        self.optimizer.step()
        return {"grad_norm": norm, "lr": self.config.lr}


def _normal_like(parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Draw in the parameter's own memory format, which fused optimisers require."""
    return torch.empty_like(parameter, requires_grad=False).normal_(generator=generator)
