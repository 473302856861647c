"""What every paradigm is given and gives."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nllgen.errors import ConfigError
from nllgen.models import DensityModel, Model
from nllgen.study.config import ParadigmConfig

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


class Batches(Protocol):
    """A stream of training images whose position can be saved."""

    def next(self, n: int) -> Tensor:
        """The next n images (n, C, H, W)."""

    def state_dict(self) -> dict[str, Any]:
        """Order and position."""

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on at a position."""


@dataclass(frozen=True)
class Context:
    """What a paradigm needs of the run around it.

    Attributes:
        device: of the model and the batches.
        streams: named random generators; latents come from ``latent``, new modules' weights from ``init``, what a
            discriminator's step needs from ``disc``, and all of training it alone from ``pretrain``.
        autocast: makes the context of training's precision.
        to_pixels: logits → pixels in [0, 1].
        max_logit: largest |logit| that data can have, from α.
        pretrain_batches: training images for what comes before the first step, apart from those of the steps; where
            there is such a thing.
        truth: the density that the data are drawn from; None on real data.
    """

    device: torch.device
    streams: Streams
    autocast: Callable[[], AbstractContextManager[Any]]
    to_pixels: Callable[[Tensor], Tensor]
    max_logit: float
    pretrain_batches: Batches | None = None
    truth: DensityModel | None = None


class Paradigm(ABC):
    """Trains a model step by step. All that it keeps between steps is in its state dict."""

    @property
    def num_preparing(self) -> int:
        """Calls of :meth:`prepare` that are still to come before the first step."""
        return 0

    def prepare(self) -> Scalars:
        """One step of what comes before the model's own training; nothing of the model changes.

        Raises:
            Diverged: before any weight is touched.
        """
        raise NotImplementedError

    @abstractmethod
    def step(self, next_batch: NextBatch, step: int) -> Scalars:
        """One optimiser step of the model.

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


def require_density(model: Model, name: str) -> DensityModel:
    """The model as one that has a density.

    Raises:
        ConfigError: it has none.
    """
    if not isinstance(model, DensityModel):
        raise ConfigError(
            f"paradigm {name} needs a log_prob, and a {type(model).__name__} has none", "train it by nsgan or wgan_gp"
        )
    return model


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Within it, a graph through ``module`` leads to its inputs and not to its parameters."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def make_optimizer(config: ParadigmConfig, module: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Adam, or plain gradient steps."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(module.parameters(), lr=lr, fused=True)
    return torch.optim.Adam(module.parameters(), lr=lr, betas=(config.beta1, config.beta2), fused=True)


def gradient_norm(parameters: Sequence[Tensor]) -> Tensor:
    """L2 norm over all gradients."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
