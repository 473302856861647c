"""A small flow inside a larger one: W ⊂ O1 ⊂ O2 (science.md, *Students*)."""

from __future__ import annotations

import torch

from nllgen.errors import ConfigError
from nllgen.models.realnvp import RealNVP
from nllgen.study.config import FlowConfig


@torch.no_grad()
def embed(small: RealNVP, large_config: FlowConfig) -> RealNVP:
    """A flow of ``large_config`` that is the same map as ``small``, and so has its log_prob.

    The small networks become the leading feature maps. Nothing leads from the additional feature maps into them, and
    the additional blocks are the identity; what leads *to* the additional maps stays as freshly drawn (global
    generator), so that training can take them into use.

    Args:
        small: the flow to reproduce; its dtype and device are kept.
        large_config: the same shape, scales, coupling and base; width and blocks at least the small ones.

    Raises:
        ConfigError: the small flow does not fit into the large one.
    """
    _check_nested(small.config, large_config)
    like = next(small.parameters())
    large = RealNVP(large_config).to(like.device, like.dtype)
    source = small.state_dict()
    for name, target in large.state_dict().items():
        if name not in source:  # of an additional block, whose second convolution closes it
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
        ours, theirs = getattr(small, key), getattr(large, key)
        if ours != theirs:
            raise ConfigError(
                f"{key} is {theirs}, and {ours} in the flow to be embedded", "flows nest only where they are equal"
            )
    for key in ("width", "blocks"):
        ours, theirs = getattr(small, key), getattr(large, key)
        if theirs < ours:
            raise ConfigError(
                f"{key} is {theirs}, and {ours} in the flow to be embedded", f"{key} has to be at least {ours}"
            )
