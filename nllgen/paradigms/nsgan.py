"""Non-saturating GAN (Goodfellow et al. 2014, §3): the flow's inverse is the generator.

L_D = E_p softplus(−d) + E_q softplus(d);  L_G = E_q softplus(−d).  At the Nash equilibrium d ≡ 0,
L_D = 2 ln 2 and L_G = ln 2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from nllgen.models.model import eval_mode
from nllgen.paradigms.penalties import Penalised


class NSGAN(Penalised):
    """Non-saturating losses, with R1 and R2 if asked for."""

    @torch.no_grad()
    def logit(self, x: Tensor) -> Tensor:
        """Return d at images in logit space (N, C, H, W) → (N,), in fp32 and without noise.

        Its optimum is log p − log q.
        """
        with eval_mode(self.disc), torch.autocast(x.device.type, enabled=False):
            d: Tensor = self.disc(self.view(x))
        return d

    @override
    def disc_loss(self, d_real: Tensor, d_fake: Tensor) -> Tensor:
        return softplus(-d_real).mean() + softplus(d_fake).mean()

    @override
    def gen_loss(self, d_fake: Tensor, d_real: Tensor | None = None) -> Tensor:
        return softplus(-d_fake).mean()
