"""Configuration of paradigms, the ways to train a model, with all defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from nllgen.study.models import Count, Frozen, Rate, Weight
from nllgen.study.validation import Contradiction


class ParadigmConfig(Frozen):
    """The base of all paradigms.

    Attributes:
        steps: optimiser steps of the model; 0 measures the initial weights and trains nothing.
        batch_size: images per step.
        eval_every: steps between evaluations, which choose ``best``; the start and the end are always evaluated.
        ema_decay: decay of the averaged weights, which are evaluated beside the raw ones; 0 is no average.
        lr: learning rate of the model.
        optimizer: ``adam``, or ``sgd`` without momentum.
        beta1, beta2: β₁ and β₂ of Adam.
    """

    needs_log_prob: ClassVar[bool] = False
    needs_truth: ClassVar[bool] = False

    steps: Annotated[int, Field(ge=0, le=10**8)] = 20_000
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    eval_every: Count = 1_000
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    lr: Rate = 1e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999

    @classmethod
    def purpose(cls) -> str:
        """Return the first sentence of the paradigm's description."""
        return (cls.__doc__ or "").partition("\n")[0]

    @property
    def images_per_step(self) -> int:
        """Return the training images that a step takes."""
        return self.batch_size


class NLLConfig(ParadigmConfig):
    """Maximum likelihood with cosine decay.

    Attributes:
        schedule: learning-rate schedule. Rates above 1e-3 need ``warmup_cosine``, which reaches them in 100 steps.
        clip_norm: norm that larger gradients are clipped to.
    """

    needs_log_prob = True

    name: Literal["nll"] = "nll"
    schedule: Literal["cosine", "warmup_cosine", "constant"] = "cosine"
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


class GeneratorConfig(ParadigmConfig):
    """The base of paradigms that train through samples; all players have the same optimiser.

    Attributes:
        best_by: measurement on validation that chooses the best weights: the Fréchet distance of 1,000 draws on LeNet's
            features, or the likelihood, by which the best of a game is mostly its untrained start. At image sizes
            without a LeNet it is the likelihood in either case.
    """

    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    lr: Rate = 2e-4
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    best_by: Literal["frechet", "val_nll"] = "frechet"


class NoiseConfig(GeneratorConfig):
    """Steps along normal random gradients: what an optimiser does to the weights where nothing is learnt."""

    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0

    name: Literal["noise"] = "noise"

    @property
    @override
    def images_per_step(self) -> int:
        """Return 0: no image is used."""
        return 0


class AdversarialConfig(GeneratorConfig):
    """A generator against a discriminator.

    Attributes:
        disc_lr: learning rate of the discriminator.
        disc_steps: discriminator steps for each generator step.
        disc_width: feature maps of the discriminator's first convolution.
        disc_input: space of the discriminator's input.
        pixel_leak: slope of a line that is added to pixels on their way to the discriminator. The map from logits to
            pixels is flat at black and white; with the line, every image has a gradient, and the map stays invertible.
        spectral_norm: divide each layer of the discriminator by its largest singular value (Miyato et al. 2018), which
            needs ``disc_start: fresh``.
        disc_start: initial discriminator. ``zero``: its last layer is 0, so that d ≡ 0. ``fresh``: its last layer is
            random as well. ``pretrained``: ``zero``, trained alone before the first step of the generator.
        disc_pretrain_steps: steps of that training, for ``disc_start: pretrained``.
        updates: order of the players' steps. ``alternating``: the generator's gradient is taken after the
            discriminator's step. ``simultaneous``: both gradients are taken at the same point.
        instance_noise: standard deviation of normal noise on the discriminator's input, in the units of that input,
            [−1, 1] (Sønderby et al. 2017; Arjovsky & Bottou 2017); 0 is none.
        instance_noise_decay: ``linear`` to 0 at the last step, or ``constant``.
    """

    disc_lr: Rate = 2e-4
    disc_steps: Annotated[int, Field(ge=1, le=100)] = 1
    disc_width: Annotated[int, Field(ge=1, le=1024)] = 32
    disc_input: Literal["pixels", "logits"] = "pixels"
    pixel_leak: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.01
    spectral_norm: bool = False
    disc_start: Literal["zero", "fresh", "pretrained"] = "zero"
    disc_pretrain_steps: Annotated[int, Field(ge=1, le=10**7)] = 1_000
    updates: Literal["alternating", "simultaneous"] = "alternating"
    instance_noise: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.0
    instance_noise_decay: Literal["linear", "constant"] = "linear"

    @override
    def contradictions(self) -> Iterator[Contradiction]:
        """Yield simultaneous steps of unequal number, and norms of a layer of zeros."""
        if self.updates == "simultaneous" and self.disc_steps != 1:
            text = f"updates: simultaneous needs disc_steps 1, it is {self.disc_steps}"
            yield Contradiction(("disc_steps", "updates"), text)
        if self.spectral_norm and self.disc_start != "fresh":
            text = f"spectral_norm needs disc_start: fresh, it is {self.disc_start}: a layer of zeros has no norm"
            yield Contradiction(("disc_start", "spectral_norm"), text)

    @property
    @override
    def images_per_step(self) -> int:
        """Return a batch for each step of the discriminator."""
        return self.batch_size * self.disc_steps

    @property
    def pretrain_steps(self) -> int:
        """Count the discriminator's steps before the first one of the generator."""
        return self.disc_pretrain_steps if self.disc_start == "pretrained" else 0


class NonSaturatingConfig(AdversarialConfig):
    """The base of paradigms with the losses of a non-saturating GAN.

    Attributes:
        r1_gamma: γ of the penalty γ/2 E_p‖∇ₓd(x)‖² (Mescheder et al. 2018, eq. 9), with x in the discriminator's
            input space; 0 is none.
        r2_gamma: γ of the same penalty at the model's samples, γ/2 E_q‖∇ₓd(x)‖²; 0 is none.
    """

    r1_gamma: Weight = 0.0
    r2_gamma: Weight = 0.0


class NSGANConfig(NonSaturatingConfig):
    """Non-saturating GAN (Goodfellow et al. 2014, §3)."""

    name: Literal["nsgan"] = "nsgan"


class R3GANConfig(NonSaturatingConfig):
    """Relativistic pairing GAN with R1 and R2 (Huang et al. 2024, "The GAN is dead; long live the GAN!")."""

    name: Literal["r3gan"] = "r3gan"
    r1_gamma: Weight = 1.0
    r2_gamma: Weight = 1.0


class HybridConfig(NonSaturatingConfig):
    """NSGAN plus likelihood (Flow-GAN: Grover et al. 2018, eq. 6).

    Attributes:
        nll_weight: λ of the generator's loss, which is the adversarial one + λ · NLL in nats per dimension.
    """

    needs_log_prob = True

    name: Literal["hybrid"] = "hybrid"
    nll_weight: Weight = 1.0


class WGANGPConfig(AdversarialConfig):
    """Wasserstein GAN with gradient penalty (Gulrajani et al. 2017); its defaults are those of their algorithm 1.

    Attributes:
        gp_weight: λ of the penalty λ E(‖∇ₓd(x̂)‖₂ − 1)², the norm over all dimensions.
    """

    name: Literal["wgan_gp"] = "wgan_gp"
    lr: Rate = 1e-4
    disc_lr: Rate = 1e-4
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.0
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.9
    disc_steps: Annotated[int, Field(ge=1, le=100)] = 5
    gp_weight: Weight = 10.0


class OracleConfig(GeneratorConfig):
    """NSGAN against the optimal discriminator d = log p − log q of a known truth; no discriminator is trained."""

    needs_log_prob = True
    needs_truth = True

    name: Literal["nsgan_oracle"] = "nsgan_oracle"

    @property
    @override
    def images_per_step(self) -> int:
        """Return 0: the truth's density replaces its images."""
        return 0


AnyParadigm = Annotated[
    NLLConfig | NSGANConfig | R3GANConfig | WGANGPConfig | HybridConfig | OracleConfig | NoiseConfig,
    Field(discriminator="name"),
]
