"""NSGAN with the optimal discriminator, which is known where the truth is: d(x) = r(x) = log p(x) − log q(x).

L_G = E_q softplus(−r(x)), where the parameters of q in r are detached: the gradient passes through x only. Its
expectation is ∇[KL(q‖p) − 2·JSD(p, q)] (Arjovsky & Bottou 2017, theorem 2.5).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from nllgen.errors import ConfigError
from nllgen.models import Model
from nllgen.paradigms.base import (
    Context,
    NextBatch,
    Paradigm,
    backward,
    frozen,
    make_optimizer,
    require_density,
    require_gradient,
)
from nllgen.paradigms.guard import Columns
from nllgen.study.config import OracleConfig


class NSGANOracle(Paradigm):
    """Steps of a generator without a second player. Training images are not used.

    r is computed in fp32 whatever the precision of training: near the truth it is a small difference of large numbers.

    Raises:
        ConfigError: there is no truth, or the model has no density.
    """

    def __init__(self, config: OracleConfig, flow: Model, context: Context):
        if context.truth is None:
            raise ConfigError(f"paradigm {config.name} needs the data's density", "train on source: synthetic")
        self.config = config
        self.flow = require_density(flow, config.name)
        self.truth = context.truth
        self.context = context
        self.optimizer = make_optimizer(config, flow, config.lr, context.guard)

    def loss(self, x: Tensor) -> Tensor:
        """Compute E softplus(−r) at draws x (N, C, H, W) of the model; its gradient passes through x only."""
        with frozen(self.flow), torch.autocast(x.device.type, enabled=False):
            r = self.truth.log_prob(x) - self.flow.log_prob(x)
        return softplus(-r).mean()

    @override
    def step(self, next_batch: NextBatch, step: int) -> Columns:
        del next_batch, step
        with self.context.autocast():
            x = self.flow.sample(self.config.batch_size, self.context.streams["latent"])
        require_gradient(x)
        loss = self.loss(x)
        norm = backward(loss, self.optimizer, self.flow)
        columns = self.context.guard.check({"loss_gen": loss.detach(), "grad_norm": norm, "lr": self.config.lr})
        self.optimizer.step()
        return columns
