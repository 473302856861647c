"""Types of fixtures, and paradigms of a known class."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from nllgen.models import Model
from nllgen.paradigms import make_paradigm
from nllgen.paradigms.adversarial import Adversarial
from nllgen.paradigms.base import Context
from nllgen.study.config import AdversarialConfig
from nllgen.train.streams import RandomStreams

MakeContext = Callable[..., Context]


def gradients(module: nn.Module) -> list[Tensor]:
    """Return the gradient of every parameter, which must have one."""
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    assert len(grads) == len(list(module.parameters()))
    return grads


def streams_of(context: Context) -> RandomStreams:
    """Return the random streams of a context, with their state."""
    assert isinstance(context.streams, RandomStreams)
    return context.streams


def make_game(config: AdversarialConfig, flow: Model, context: Context) -> Adversarial:
    """Create an adversarial paradigm, which has a discriminator."""
    game = make_paradigm(config, flow, context)
    assert isinstance(game, Adversarial)
    return game
