"""NSGAN combined with maximum likelihood (Flow-GAN: Grover, Dhar & Ermon 2018, eq. 6)."""

from __future__ import annotations

import math

from torch import Tensor
from typing_extensions import override

from nllgen.models import Model
from nllgen.paradigms.base import Context, require_density
from nllgen.paradigms.guard import Columns
from nllgen.paradigms.nsgan import NSGAN
from nllgen.study.config import HybridConfig


class Hybrid(NSGAN):
    """NSGAN whose generator loss is E_q softplus(−d) − λ/D · E_p log q.

    The likelihood is that of the real batch of the discriminator's last step. λ is per nat/dim, so that a value has the
    same meaning at every image size.
    """

    def __init__(self, config: HybridConfig, flow: Model, context: Context):
        super().__init__(config, flow, context)
        self._density = require_density(flow, config.name)
        self._weight = config.nll_weight / math.prod(flow.shape)  # λ/D

    @override
    def extra_gen_loss(self, real: Tensor) -> tuple[Tensor | None, Columns]:
        with self.context.autocast():
            nll = -self._density.log_prob(real).mean()
        return self._weight * nll, {"train_nll_nats": nll.detach()}
