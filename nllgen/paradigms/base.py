"""Interface of a paradigm, and helpers that paradigms share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nllgen.errors import ConfigError
from nllgen.models import DensityModel, Model
from nllgen.paradigms.guard import Columns, Guard
from nllgen.study.config import ParadigmConfig

NextBatch = Callable[[int], Tensor]


class Streams(Protocol):
    """Named random generators."""

    def __getitem__(self, name: str, /) -> torch.Generator: ...


class Batches(Protocol):
    """A stream of training images whose position can be saved."""

    def next(self, n: int) -> Tensor:
        """Return the next n images (n, C, H, W)."""

    def state_dict(self) -> dict[str, Any]:
        """Return order and position."""

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore order and position."""


@dataclass(frozen=True)
class Context:
    """Properties of a run that a paradigm needs.

    Attributes:
        streams: named random generators: ``latent`` for latents, ``init`` for the weights of new modules, ``disc`` for
            a discriminator's steps, ``pretrain`` for everything random while a discriminator is trained alone.
        autocast: creates the context of the precision of training.
        to_pixels: maps logits to pixels in [0, 1], without clipping those that data cannot have.
        max_logit: largest |logit| that data can have, from α.
        pretrain_batches: training images for the preparation before the first step, separate from those of the steps.
        truth: the density that the data are drawn from; None on real data.
        guard: checks the numbers of each step before they are used.
    """

    device: torch.device
    streams: Streams
    autocast: Callable[[], AbstractContextManager[Any]]
    to_pixels: Callable[[Tensor], Tensor]
    max_logit: float
    pretrain_batches: Batches | None = None
    truth: DensityModel | None = None
    guard: Guard = field(default_factory=Guard)


class Paradigm(ABC):
    """A method that trains a model step by step. Its state between steps is in its state dict.

    With a GPU nothing in a step may make the host wait for the device: no ``.item()``, no ``bool`` of a tensor. Numbers
    are returned as tensors, and ``context.guard`` checks them.

    Attributes:
        context: properties of the run.
        optimizer: of the model, from :func:`make_optimizer`.
    """

    context: Context
    optimizer: torch.optim.Optimizer

    @property
    def num_preparation_steps(self) -> int:
        """Return the number of calls of :meth:`prepare` that are due before the first step."""
        return 0

    def prepare(self) -> Columns:
        """Take one step of preparation, which does not change the model.

        Raises:
            Diverged: before any weight is changed.
        """
        raise NotImplementedError

    @abstractmethod
    def step(self, next_batch: NextBatch, step: int) -> Columns:
        """Take one optimiser step of the model.

        Args:
            next_batch: returns the next n training images (n, C, H, W) in logit space.
            step: number of steps taken before this one.

        Returns:
            Columns of the history, by name: at least one.

        Raises:
            Diverged: before any weight is changed.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the state of optimisers and further players."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of optimisers and further players."""
        self.optimizer.load_state_dict(state["optimizer"])


def require_density(model: Model, name: str) -> DensityModel:
    """Return the model as a DensityModel, or raise ConfigError where it has no density."""
    if not isinstance(model, DensityModel):
        raise ConfigError(
            f"paradigm {name} needs a log_prob, and {type(model).__name__} has none", "train it by nsgan or wgan_gp"
        )
    return model


def require_gradient(samples: Tensor) -> None:
    """Raise ConfigError where samples cannot be differentiated with respect to the model's parameters."""
    if not samples.requires_grad:
        raise ConfigError("the model's sample passes no gradient to its parameters", "train it by nll")


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Hold the parameters of ``module`` constant within the context; gradients still pass to its inputs."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def make_optimizer(config: ParadigmConfig, module: nn.Module, lr: float, guard: Guard) -> torch.optim.Optimizer:
    """Create Adam, or SGD without momentum; the guard stops it."""
    optimizer = (
        torch.optim.SGD(module.parameters(), lr=lr, fused=True)
        if config.optimizer == "sgd"
        else torch.optim.Adam(module.parameters(), lr=lr, betas=(config.beta1, config.beta2), fused=True)
    )
    guard.watch(optimizer, module)
    return optimizer


def backward(loss: Tensor, optimizer: torch.optim.Optimizer, module: nn.Module) -> Tensor:
    """Replace the gradients of a module by those of a loss, and return their L2 norm."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
