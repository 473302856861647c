"""Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, algorithm 1).

L_D = E_q d − E_p d + λ E(‖∇ₓd(x̂)‖₂ − 1)²;  L_G = −E_q d.  x̂ is uniform on the segment between a real and a fake
image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from nllgen.models import Model
from nllgen.paradigms.adversarial import Adversarial
from nllgen.paradigms.base import Context
from nllgen.paradigms.penalties import input_gradient
from nllgen.study.config import WGANGPConfig


class WGANGP(Adversarial):
    """Wasserstein losses with gradient penalty.

    The norm is over all dimensions of an image, whereas Flow-GAN's published code takes it over one axis.
    """

    def __init__(self, config: WGANGPConfig, flow: Model, context: Context):
        super().__init__(config, flow, context)
        self._gp_weight = config.gp_weight

    @override
    def disc_loss(self, d_real: Tensor, d_fake: Tensor) -> Tensor:
        return d_fake.mean() - d_real.mean()

    @override
    def gen_loss(self, d_fake: Tensor, d_real: Tensor | None = None) -> Tensor:
        return -d_fake.mean()

    @override
    def penalty(self, real: Tensor, fake: Tensor, noise: torch.Generator) -> Tensor | None:
        weight = torch.rand(len(real), 1, 1, 1, generator=noise, device=real.device, dtype=real.dtype)
        gradient = input_gradient(self.disc, fake.lerp(real, weight))
        norm: Tensor = torch.linalg.vector_norm(gradient, dim=1)
        return self._gp_weight * (norm - 1).square().mean()
