"""What every paradigm is given and gives."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

NextBatch = Callable[[int], Tensor]
Scalars = dict[str, float]


class Diverged(Exception):  # noqa: N818  a result, not an error
    """A loss or gradient is not finite. Raised before the step, so that the weights are those that led here.

    Args:
        scalars: what was measured in this step.
    """

    def __init__(self, scalars: Scalars):
        super().__init__(", ".join(f"{name} {value}" for name, value in scalars.items()))
        self.scalars = scalars


class Streams(Protocol):
    """Named random generators."""

    def __getitem__(self, name: str, /) -> torch.Generator: ...


@dataclass(frozen=True)
class Context:
    """What a paradigm needs of the run around it.

    Attributes:
        device: of the flow and the batches.
        streams: named random generators; latents come from ``latent``, new modules' weights from ``init``.
        autocast: makes the context of training's precision.
        to_pixels: logits → pixels in [0, 1].
        max_logit: largest |logit| that data can have, from α.
    """

    device: torch.device
    streams: Streams
    autocast: Callable[[], AbstractContextManager[Any]]
    to_pixels: Callable[[Tensor], Tensor]
    max_logit: float


class Paradigm(ABC):
    """Trains a flow step by step. All that it keeps between steps is in its state dict."""

    @abstractmethod
    def step(self, next_batch: NextBatch, step: int) -> Scalars:
        """One optimiser step of the flow.

        Args:
            next_batch: gives the next n training images (n, C, H, W) in logit space.
            step: number of steps taken before this one.

        Returns:
            Columns of the history, by name.

        Raises:
            Diverged: before the weights are touched.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Optimisers and further players."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken."""


def check_finite(scalars: Scalars) -> None:
    """Raise :class:`Diverged` if any number is not finite."""
    if not all(math.isfinite(value) for value in scalars.values()):
        raise Diverged(scalars)


def gradient_norm(parameters: Sequence[Tensor]) -> Tensor:
    """L2 norm over all gradients."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
