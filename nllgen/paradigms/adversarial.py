"""Training of a generator against a discriminator, for any adversarial losses."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nllgen.models import Model
from nllgen.models.model import eval_mode
from nllgen.paradigms.base import (
    Batches,
    Context,
    NextBatch,
    Paradigm,
    backward,
    frozen,
    make_optimizer,
    require_gradient,
)
from nllgen.paradigms.discriminator import Discriminator, normalise_layers
from nllgen.paradigms.guard import Columns
from nllgen.study.config import AdversarialConfig


class Adversarial(Paradigm):
    """Gradient steps of two players. The last discriminator step and the generator step share one batch of fakes.

    Subclasses define the losses. The order of steps, the noise, the optimisers and the initial discriminator are
    common.

    Attributes:
        is_relativistic: whether the generator's loss depends on the logits of real images, too.
    """

    is_relativistic: ClassVar[bool] = False

    def __init__(self, config: AdversarialConfig, flow: Model, context: Context):
        self.game = config
        self.flow = flow
        self.context = context
        cpu_init = torch.Generator().manual_seed(context.streams["init"].initial_seed())
        start_at_zero = config.disc_start != "fresh"
        disc = Discriminator(flow.shape, config.disc_width, cpu_init, start_at_zero=start_at_zero)
        if config.spectral_norm:
            normalise_layers(disc, cpu_init)
        self.disc = disc.to(context.device)
        self.optimizer = make_optimizer(config, flow, config.lr, context.guard)
        self.disc_optimizer = make_optimizer(config, self.disc, config.disc_lr, context.guard)
        self.pretrained = 0

    @abstractmethod
    def disc_loss(self, d_real: Tensor, d_fake: Tensor) -> Tensor:
        """Compute the discriminator's loss from its logits (N,), without penalty."""

    @abstractmethod
    def gen_loss(self, d_fake: Tensor, d_real: Tensor | None = None) -> Tensor:
        """Compute the generator's adversarial loss from the discriminator's logits (N,).

        ``d_real`` is absent where the loss does not depend on it (:attr:`is_relativistic`).
        """

    def penalty(self, real: Tensor, fake: Tensor, noise: torch.Generator) -> Tensor | None:
        """Compute the penalty that is added to the loss of the discriminator, at its inputs (N, C, H, W)."""
        del real, fake, noise
        return None

    def extra_gen_loss(self, real: Tensor) -> tuple[Tensor | None, Columns]:
        """Compute a term of the generator's loss from training images (logits), and its columns of the history."""
        del real
        return None, {}

    @override
    def step(self, next_batch: NextBatch, step: int) -> Columns:
        noise_std, noise = self._noise_std(step), self.context.streams["disc"]
        for i in range(self.game.disc_steps):
            last = i == self.game.disc_steps - 1
            with torch.set_grad_enabled(last):
                fake = self._sample(self.context.streams["latent"])
            real = next_batch(self.game.batch_size)
            columns = self._disc_gradient(real, fake.detach(), noise_std, noise)
            if not (last and self.game.updates == "simultaneous"):
                self.disc_optimizer.step()
        require_gradient(fake)
        columns |= self._gen_gradient(real, fake, noise_std, noise)
        if self.game.updates == "simultaneous":
            self.disc_optimizer.step()
        self.optimizer.step()
        return columns | {"lr": self.game.lr}

    @property
    @override
    def num_preparation_steps(self) -> int:
        return self.game.pretrain_steps - self.pretrained

    @override
    def prepare(self) -> Columns:
        """Take one step of the discriminator alone, with random streams of its own and the instance noise of step 0."""
        stream = self.context.streams["pretrain"]
        with torch.no_grad():
            fake = self._sample(stream)
        real = self._pretrain_batches.next(self.game.batch_size)
        columns = self._disc_gradient(real, fake, self._noise_std(0), stream)
        self.disc_optimizer.step()
        self.pretrained += 1
        return columns

    @property
    def _pretrain_batches(self) -> Batches:
        assert self.context.pretrain_batches is not None
        return self.context.pretrain_batches

    def _sample(self, stream: torch.Generator) -> Tensor:
        with self.context.autocast():
            return self.flow.sample(self.game.batch_size, stream)

    def _disc_gradient(self, real: Tensor, fake: Tensor, noise_std: float, noise: torch.Generator) -> Columns:
        inputs = self._view(torch.cat((real, fake)), noise_std, noise)
        with self.context.autocast():
            d_real, d_fake = self.disc(inputs).chunk(2)
        loss = self.disc_loss(d_real, d_fake)
        columns: Columns = {"loss_disc": loss.detach()}
        real_inputs, fake_inputs = inputs.chunk(2)
        penalty = self.penalty(real_inputs, fake_inputs, noise)
        if penalty is not None:
            columns["penalty_disc"] = penalty.detach()
            loss = loss + penalty
        columns["grad_norm_disc"] = backward(loss, self.disc_optimizer, self.disc)
        return self.context.guard.check(columns)

    def _gen_gradient(self, real: Tensor, fake: Tensor, noise_std: float, noise: torch.Generator) -> Columns:
        with frozen(self.disc), self.context.autocast():
            d_fake = self.disc(self._view(fake, noise_std, noise))
            loss = self.gen_loss(d_fake, self._real_logits(real, noise_std, noise))
        columns: Columns = {"loss_gen": loss.detach()}
        extra, extra_columns = self.extra_gen_loss(real)
        loss = loss if extra is None else loss + extra
        columns |= extra_columns | {"grad_norm": backward(loss, self.optimizer, self.flow)}
        return self.context.guard.check(columns)

    @torch.no_grad()
    def _real_logits(self, real: Tensor, noise_std: float, noise: torch.Generator) -> Tensor | None:
        d_real: Tensor | None = self.disc(self._view(real, noise_std, noise)) if self.is_relativistic else None
        return d_real

    def generator_gradient(self, real: Tensor, generator: torch.Generator) -> float:
        """Return the L2 norm of the adversarial loss's gradient at new samples, in fp32 and without instance noise.

        It changes no state. ``real`` are as many images in logit space (N, C, H, W) as samples are drawn.
        """
        parameters = [parameter for parameter in self.flow.parameters() if parameter.requires_grad]
        no_autocast = torch.autocast(real.device.type, enabled=False)
        with eval_mode(self.flow), eval_mode(self.disc), frozen(self.disc), no_autocast:
            d_fake = self.disc(self.view(self.flow.sample(len(real), generator)))
            loss = self.gen_loss(d_fake, self._real_logits(real, 0.0, generator))
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        return float(torch.nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None]))

    def _noise_std(self, step: int) -> float:
        """Return the standard deviation of the instance noise in a step."""
        decay = 1 - step / self.game.steps if self.game.instance_noise_decay == "linear" and self.game.steps else 1.0
        return self.game.instance_noise * decay

    def view(self, x: Tensor) -> Tensor:
        """Map logits (N, C, H, W) to the discriminator's inputs: those of data to about [−1, 1]."""
        scaled = x / self.context.max_logit
        if self.game.disc_input == "logits":
            return scaled
        return 2 * self.context.to_pixels(x) - 1 + self.game.pixel_leak * scaled

    def _view(self, x: Tensor, noise_std: float, noise: torch.Generator) -> Tensor:
        """Map logits to the discriminator's inputs, with instance noise if the study asks for it."""
        inputs = self.view(x)
        if noise_std:
            inputs = inputs + noise_std * torch.randn(x.shape, generator=noise, device=x.device, dtype=x.dtype)
        return inputs

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "disc": self.disc.state_dict(),
            **super().state_dict(),
            "disc_optimizer": self.disc_optimizer.state_dict(),
            "pretrained": self.pretrained,
            "pretrain_batches": self._pretrain_batches.state_dict() if self.num_preparation_steps else {},
        }

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.disc.load_state_dict(state["disc"])
        self.disc_optimizer.load_state_dict(state["disc_optimizer"])
        self.pretrained = state["pretrained"]
        if self.num_preparation_steps:
            self._pretrain_batches.load_state_dict(state["pretrain_batches"])
