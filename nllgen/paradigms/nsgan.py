"""Non-saturating GAN (Goodfellow et al. 2014, §3): the flow's inverse is the generator.

L_D = E_p softplus(−d) + E_q softplus(d);  L_G = E_q softplus(−d).  At the Nash equilibrium d ≡ 0,
L_D = 2 ln 2 and L_G = ln 2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from nllgen.models import Model
from nllgen.paradigms.adversarial import Adversarial, input_gradient
from nllgen.paradigms.base import Context
from nllgen.study.paradigms import NonSaturatingConfig


class NSGAN(Adversarial):
    """Non-saturating losses, with R1 if ``r1_gamma`` is not 0: γ/2 E_p‖∇ₓd(x)‖² (Mescheder et al. 2018, eq. 9)."""

    def __init__(self, config: NonSaturatingConfig, flow: Model, context: Context):
        super().__init__(config, flow, context)
        self._half_gamma = 0.5 * config.r1_gamma

    @torch.no_grad()
    def logit(self, x: Tensor) -> Tensor:
        """Return d at images in logit space (N, C, H, W) → (N,), in fp32 and without noise.

        Its optimum is log p − log q.
        """
        with torch.autocast(x.device.type, enabled=False):
            d: Tensor = self.disc(self.view(x))
        return d

    @override
    def disc_loss(self, d_real: Tensor, d_fake: Tensor) -> Tensor:
        return softplus(-d_real).mean() + softplus(d_fake).mean()

    @override
    def gen_loss(self, d_fake: Tensor) -> Tensor:
        return softplus(-d_fake).mean()

    @override
    def penalty(self, real: Tensor, fake: Tensor, noise: torch.Generator) -> Tensor | None:
        if not self._half_gamma:
            return None
        return self._half_gamma * input_gradient(self.disc, real).square().sum(1).mean()
