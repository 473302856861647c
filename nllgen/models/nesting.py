"""Embedding of a small flow in a larger one: W ⊂ O1 ⊂ O2 (science.md, *Students*)."""

from __future__ import annotations

import torch

from nllgen.errors import ConfigError
from nllgen.models.realnvp import RealNVP
from nllgen.study.config import FlowConfig


@torch.no_grad()
def embed(small: RealNVP, large_config: FlowConfig) -> RealNVP:
    """Create a flow of ``large_config`` that computes the same map as ``small``, and so has the same log_prob.

    The small networks become the leading feature maps. The weights from the additional feature maps to them are 0, and
    the additional blocks are the identity. The weights *to* the additional maps keep their initial random values (from
    the global generator), so that training can make use of those maps. Dtype and device are kept.

    Raises:
        ConfigError: ``large_config`` has another shape, scales, coupling or base, or a smaller width or blocks.
    """
    _check_nested(small.config, large_config)
    like = next(small.parameters())
    large = RealNVP(large_config).to(like.device, like.dtype)
    source = small.state_dict()
    for name, target in large.state_dict().items():
        if name not in source:  # an additional block: the identity once its second convolution is 0
            if ".conv2." in name:
                target.zero_()
            continue
        part = source[name]
        if part.shape != target.shape:
            target = target[: part.shape[0]]
            target.zero_()
        target[tuple(slice(n) for n in part.shape)] = part
    return large


def _check_nested(small: FlowConfig, large: FlowConfig) -> None:
    for key in ("shape", "scales", "coupling", "base", "dof"):
        value, required = getattr(large, key), getattr(small, key)
        if value != required:
            raise ConfigError(f"{key} is {value}, and {required} in the flow to be embedded", "they must be equal")
    for key in ("width", "blocks"):
        value, minimum = getattr(large, key), getattr(small, key)
        if value < minimum:
            raise ConfigError(
                f"{key} is {value}, and {minimum} in the flow to be embedded", f"{key} has to be at least {minimum}"
            )
