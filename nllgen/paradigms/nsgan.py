"""Non-saturating GAN (Goodfellow et al. 2014, §3): the flow's inverse is the generator.

L_D = E_p softplus(−d) + E_q softplus(d);  L_G = E_q softplus(−d).  At the Nash equilibrium d ≡ 0,
L_D = 2 ln 2 and L_G = ln 2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from nllgen.flow import RealNVP
from nllgen.paradigms.base import Context, NextBatch, Paradigm, Scalars, check_finite, gradient_norm
from nllgen.paradigms.discriminator import Discriminator
from nllgen.study.config import NSGANConfig


class NSGAN(Paradigm):
    """Alternating Adam steps. The last discriminator step and the generator step share one batch of fakes."""

    def __init__(self, config: NSGANConfig, flow: RealNVP, context: Context):
        self.config = config
        self.flow = flow
        self.context = context
        cpu_init = torch.Generator().manual_seed(context.streams["init"].initial_seed())
        self.disc = Discriminator(flow.config.shape, config.disc_width, cpu_init).to(context.device)
        betas = (config.beta1, 0.999)
        self.optimizer = torch.optim.Adam(flow.parameters(), lr=config.lr, betas=betas, fused=True)
        self.disc_optimizer = torch.optim.Adam(self.disc.parameters(), lr=config.disc_lr, betas=betas, fused=True)

    @override
    def step(self, next_batch: NextBatch, step: int) -> Scalars:
        del step  # constant learning rates
        for i in range(self.config.disc_steps):
            last = i == self.config.disc_steps - 1
            with torch.set_grad_enabled(last), self.context.autocast():
                fake = self.flow.sample(self.config.batch_size, self.context.streams["latent"])
            scalars = self._disc_step(next_batch(self.config.batch_size), fake.detach())
        scalars |= self._gen_step(fake)
        scalars["lr"] = self.config.lr
        return scalars

    def _disc_step(self, real: Tensor, fake: Tensor) -> Scalars:
        with self.context.autocast():
            d = self.disc(self._view(torch.cat((real, fake))))
        d_real, d_fake = d.chunk(2)
        loss = softplus(-d_real).mean() + softplus(d_fake).mean()
        self.disc_optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = gradient_norm(list(self.disc.parameters()))
        scalars = {"loss_disc": loss.item(), "grad_norm_disc": norm.item()}
        check_finite(scalars)
        self.disc_optimizer.step()
        return scalars

    def _gen_step(self, fake: Tensor) -> Scalars:
        self.disc.requires_grad_(False)
        with self.context.autocast():
            loss = softplus(-self.disc(self._view(fake))).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.disc.requires_grad_(True)
        norm = gradient_norm(list(self.flow.parameters()))
        scalars = {"loss_gen": loss.item(), "grad_norm": norm.item()}
        check_finite(scalars)
        self.optimizer.step()
        return scalars

    def _view(self, x: Tensor) -> Tensor:
        """Logits as the discriminator sees them, in [−1, 1]."""
        if self.config.disc_input == "logits":
            return x / self.context.max_logit
        return 2 * self.context.to_pixels(x) - 1

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "disc": self.disc.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "disc_optimizer": self.disc_optimizer.state_dict(),
        }

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.disc.load_state_dict(state["disc"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.disc_optimizer.load_state_dict(state["disc_optimizer"])
