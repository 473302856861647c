"""Penalties on the gradient of a discriminator at its inputs: R1, R2, and what they are made of."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from nllgen.models import Model
from nllgen.paradigms.adversarial import Adversarial
from nllgen.paradigms.base import Context
from nllgen.paradigms.discriminator import Discriminator
from nllgen.study.config import NonSaturatingConfig


class Penalised(Adversarial):
    """A game with R1, γ/2 E_p‖∇ₓd(x)‖², and R2, the same at generated images, where their γ are not 0.

    Source: Mescheder, Geiger & Nowozin (2018), equations 9 and 10.
    """

    def __init__(self, config: NonSaturatingConfig, flow: Model, context: Context):
        super().__init__(config, flow, context)
        self._half_gammas = 0.5 * config.r1_gamma, 0.5 * config.r2_gamma

    @override
    def penalty(self, real: Tensor, fake: Tensor, noise: torch.Generator) -> Tensor | None:
        terms = [
            half_gamma * input_gradient(self.disc, inputs).square().sum(1).mean()
            for half_gamma, inputs in zip(self._half_gammas, (real, fake), strict=True)
            if half_gamma
        ]
        return torch.stack(terms).sum() if terms else None


def input_gradient(disc: Discriminator, x: Tensor) -> Tensor:
    """Compute ∇ₓd(x) at inputs of the discriminator, flattened: (N, C, H, W) → (N, C·H·W).

    It is computed in fp32 whatever the precision of training, and has a graph, so that it can be differentiated.
    """
    x = x.detach().requires_grad_()
    with torch.autocast(x.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(disc(x).sum(), x, create_graph=True)
    return gradient.flatten(1)
