"""Relativistic pairing GAN (Jolicoeur-Martineau 2018; R3GAN: Huang, Gokaslan, Kuleshov & Tompkin 2024, §2).

L_D = E softplus(−(d(x) − d(y)));  L_G = E softplus(−(d(y) − d(x))), x real and y generated, in pairs; with R1 and R2.
The discriminator judges an image against its partner, so that no mode can be dropped unseen. d is determined up to a
constant: the optimum is log p − log q + c.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from nllgen.paradigms.penalties import Penalised


class R3GAN(Penalised):
    """Relativistic losses with R1 and R2."""

    is_relativistic: ClassVar[bool] = True

    @override
    def disc_loss(self, d_real: Tensor, d_fake: Tensor) -> Tensor:
        return softplus(d_fake - d_real).mean()

    @override
    def gen_loss(self, d_fake: Tensor, d_real: Tensor | None = None) -> Tensor:
        assert d_real is not None
        return softplus(d_real - d_fake).mean()
