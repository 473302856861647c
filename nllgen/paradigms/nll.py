"""Maximum likelihood: minimise −E log q(x) over the training images."""

from __future__ import annotations

import math

import torch
from typing_extensions import override

from nllgen.models import Model
from nllgen.paradigms.base import (
    Context,
    NextBatch,
    Paradigm,
    backward,
    make_optimizer,
    require_density,
    set_lr,
)
from nllgen.paradigms.guard import Columns
from nllgen.study.config import NLLConfig

WARMUP_STEPS = 100


class NLL(Paradigm):
    """Gradient descent with cosine decay and gradient clipping."""

    def __init__(self, config: NLLConfig, flow: Model, context: Context):
        self.config = config
        self.flow = require_density(flow, config.name)
        self.context = context
        self.optimizer = make_optimizer(config, flow, config.lr, context.guard)

    @override
    def step(self, next_batch: NextBatch, step: int) -> Columns:
        lr = learning_rate(self.config, step)
        set_lr(self.optimizer, lr)
        x = next_batch(self.config.batch_size)
        with self.context.autocast():
            loss = -self.flow.log_prob(x).mean()
        norm = backward(loss, self.optimizer, self.flow)
        columns = self.context.guard.check({"train_nll_nats": loss.detach(), "grad_norm": norm, "lr": lr})
        torch.nn.utils.clip_grads_with_norm_(self.flow.parameters(), self.config.clip_norm, norm)
        self.optimizer.step()
        return columns


def learning_rate(config: NLLConfig, step: int) -> float:
    """Return the learning rate of a step: constant, or cosine decay to 0 (Loshchilov & Hutter 2017, eq. 5, no restart).

    With ``warmup_cosine`` the decayed rate is scaled up linearly over the first steps (Goyal et al. 2017, §2.2). Adam's
    first updates move every weight by its full rate, and at 0.01 they leave a flow where it learns slowly for a long
    time.
    """
    if config.schedule == "constant":
        return config.lr
    decayed = config.lr * 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return decayed * min(1.0, (step + 1) / WARMUP_STEPS) if config.schedule == "warmup_cosine" else decayed
