"""A generator against a discriminator: the game that every adversarial paradigm plays, whatever its losses."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from nllgen.errors import ConfigError
from nllgen.models import Model
from nllgen.paradigms.base import (
    Batches,
    Context,
    NextBatch,
    Paradigm,
    Scalars,
    check_finite,
    frozen,
    gradient_norm,
    make_optimizer,
)
from nllgen.paradigms.discriminator import Discriminator
from nllgen.study.config import AdversarialConfig


class Adversarial(Paradigm):
    """Gradient steps of both players. The last discriminator step and the generator step share one batch of fakes.

    A paradigm says what the losses are; order, noise, optimisers and the discriminator's start are the same for all.
    """

    def __init__(self, config: AdversarialConfig, flow: Model, context: Context):
        self.game = config
        self.flow = flow
        self.context = context
        cpu_init = torch.Generator().manual_seed(context.streams["init"].initial_seed())
        start_at_zero = config.disc_start != "fresh"
        disc = Discriminator(flow.shape, config.disc_width, cpu_init, start_at_zero=start_at_zero)
        self.disc = disc.to(context.device)
        self.optimizer = make_optimizer(config, flow, config.lr)
        self.disc_optimizer = make_optimizer(config, self.disc, config.disc_lr)
        self.pretrained = 0

    @abstractmethod
    def disc_loss(self, d_real: Tensor, d_fake: Tensor) -> Tensor:
        """The discriminator's loss from its answers (N,), without penalty."""

    @abstractmethod
    def gen_loss(self, d_fake: Tensor) -> Tensor:
        """The generator's adversarial loss from the discriminator's answers (N,)."""

    def penalty(self, real: Tensor, fake: Tensor, noise: torch.Generator) -> Tensor | None:
        """What the discriminator's loss has besides, at inputs as it sees them (N, C, H, W); None is nothing."""
        del real, fake, noise
        return None

    def extra_gen_loss(self, real: Tensor) -> tuple[Tensor | None, Scalars]:
        """What the generator's loss has besides, at training images (N, C, H, W) in logit space, and its columns."""
        del real
        return None, {}

    @override
    def step(self, next_batch: NextBatch, step: int) -> Scalars:
        noise_std, noise = self._noise_std(step), self.context.streams["disc"]
        for i in range(self.game.disc_steps):
            last = i == self.game.disc_steps - 1
            with torch.set_grad_enabled(last):
                fake = self._sample(self.context.streams["latent"])
            real = next_batch(self.game.batch_size)
            scalars = self._disc_gradient(real, fake.detach(), noise_std, noise)
            if not (last and self.game.updates == "simultaneous"):
                self.disc_optimizer.step()
        if not fake.requires_grad:
            raise ConfigError("no gradient goes through the model's sample to its parameters", "train it by nll")
        scalars |= self._gen_gradient(real, fake, noise_std, noise)
        if self.game.updates == "simultaneous":
            self.disc_optimizer.step()
        self.optimizer.step()
        return scalars | {"lr": self.game.lr}

    @property
    @override
    def num_preparing(self) -> int:
        return self.game.pretrain_steps - self.pretrained

    @override
    def prepare(self) -> Scalars:
        """One step of the discriminator alone, from streams of its own, with the first step's instance noise."""
        stream = self.context.streams["pretrain"]
        with torch.no_grad():
            fake = self._sample(stream)
        real = self._pretrain_batches.next(self.game.batch_size)
        scalars = self._disc_gradient(real, fake, self._noise_std(0), stream)
        self.disc_optimizer.step()
        self.pretrained += 1
        return scalars

    @property
    def _pretrain_batches(self) -> Batches:
        assert self.context.pretrain_batches is not None
        return self.context.pretrain_batches

    def _sample(self, stream: torch.Generator) -> Tensor:
        with self.context.autocast():
            return self.flow.sample(self.game.batch_size, stream)

    def _disc_gradient(self, real: Tensor, fake: Tensor, noise_std: float, noise: torch.Generator) -> Scalars:
        both = self._view(torch.cat((real, fake)), noise_std, noise)
        with self.context.autocast():
            d_real, d_fake = self.disc(both).chunk(2)
        loss = self.disc_loss(d_real, d_fake)
        scalars = {"loss_disc": loss.item()}
        seen_real, seen_fake = both.chunk(2)
        penalty = self.penalty(seen_real, seen_fake, noise)
        if penalty is not None:
            scalars["penalty_disc"] = penalty.item()
            loss = loss + penalty
        self.disc_optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        scalars["grad_norm_disc"] = gradient_norm(list(self.disc.parameters())).item()
        check_finite(scalars)
        return scalars

    def _gen_gradient(self, real: Tensor, fake: Tensor, noise_std: float, noise: torch.Generator) -> Scalars:
        with frozen(self.disc), self.context.autocast():
            loss = self.gen_loss(self.disc(self._view(fake, noise_std, noise)))
        scalars = {"loss_gen": loss.item()}
        extra, columns = self.extra_gen_loss(real)
        self.optimizer.zero_grad(set_to_none=True)
        (loss if extra is None else loss + extra).backward()  # type: ignore[no-untyped-call]
        scalars |= columns | {"grad_norm": gradient_norm(list(self.flow.parameters())).item()}
        check_finite(scalars)
        return scalars

    def _noise_std(self, step: int) -> float:
        """Of the instance noise in a step."""
        left = 1 - step / self.game.steps if self.game.instance_noise_decay == "linear" and self.game.steps else 1.0
        return self.game.instance_noise * left

    def view(self, x: Tensor) -> Tensor:
        """Logits (N, C, H, W) as the discriminator sees them: in [−1, 1]."""
        logits = self.game.disc_input == "logits"
        return x / self.context.max_logit if logits else 2 * self.context.to_pixels(x) - 1

    def _view(self, x: Tensor, noise_std: float, noise: torch.Generator) -> Tensor:
        """What the discriminator is given in training: noisy where that is asked for."""
        seen = self.view(x)
        if noise_std:
            seen = seen + noise_std * torch.randn(x.shape, generator=noise, device=x.device, dtype=x.dtype)
        return seen

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "disc": self.disc.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "disc_optimizer": self.disc_optimizer.state_dict(),
            "pretrained": self.pretrained,
            "pretrain_batches": self._pretrain_batches.state_dict() if self.num_preparing else {},
        }

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.disc.load_state_dict(state["disc"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.disc_optimizer.load_state_dict(state["disc_optimizer"])
        self.pretrained = state["pretrained"]
        if self.num_preparing:
            self._pretrain_batches.load_state_dict(state["pretrain_batches"])


def input_gradient(disc: Discriminator, x: Tensor) -> Tensor:
    """∇ₓd(x) at inputs as the discriminator sees them, all dimensions in a row: (N, C, H, W) → (N, C·H·W).

    In fp32 whatever the training's precision, and with a graph: its own derivative is wanted.
    """
    x = x.detach().requires_grad_()
    with torch.autocast(x.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(disc(x).sum(), x, create_graph=True)
    return gradient.flatten(1)
