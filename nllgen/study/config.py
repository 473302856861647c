"""The frozen models of a study. Defaults live here and nowhere else; every model validates itself.

What belongs to the science of a cell is in :class:`Cell` and so in its id. Resources, paths, profiles and the choice of
metrics are not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import override

SCHEMA = 1
MNIST_SIZE: Final = 28
MNIST_TRAIN = 50_000
MNIST_HELD_OUT = 10_000

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Count = Annotated[int, Field(ge=1, le=10**9)]
Rate = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
Degree = Literal["U3", "U2", "U1", "W", "W*", "O1", "O2"]
Precision = Literal["fp32", "bf16"]


class Frozen(BaseModel):
    """Immutable, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FlowConfig(Frozen):
    """A Real NVP.

    Attributes:
        shape: (C, H, W) of an image; the grid takes it from the data.
        width: feature maps of the coupling networks at the first scale; they double at each squeeze.
        blocks: residual blocks in each coupling network.
        scales: 1 is a single scale (4 checkerboard couplings), 2 is science.md's multi-scale model.
        coupling: ``additive`` is volume preserving up to ActNorm.
    """

    shape: Annotated[tuple[Count, Count, Count], Field(strict=False)] = (1, MNIST_SIZE, MNIST_SIZE)
    width: Annotated[int, Field(ge=1, le=1024)] = 32
    blocks: Annotated[int, Field(ge=0, le=64)] = 2
    scales: Annotated[int, Field(ge=1, le=6)] = 2
    coupling: Literal["affine", "additive"] = "affine"

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        factor = 2 ** (self.scales - 1)
        if self.shape[1] % factor or self.shape[2] % factor:
            raise ValueError(
                f"{self.scales} scales need a height and width divisible by {factor}, the image is {self.shape}"
            )
        return self

    @property
    def num_dims(self) -> int:
        """H·W·C."""
        return self.shape[0] * self.shape[1] * self.shape[2]


class DataConfig(Frozen):
    """What a cell is trained and measured on.

    Attributes:
        source: ``mnist``, or ``synthetic`` images drawn from the study's truth.
        image_size: MNIST is averaged down to this height and width: 28, 14 or 7. Synthetic images have the truth's.
        alpha: squeezing towards 0.5 before the logit, w = α + (1 − 2α)v.
        num_train: training images; ``all`` of MNIST's 50,000, or ``fresh`` synthetic images at every step.
        num_val, num_test: held-out images that densities are measured on.
        truth_id: id of the truth that synthetic images are drawn from; the grid fills it in.
    """

    source: Literal["mnist", "synthetic"] = "mnist"
    image_size: Literal[28, 14, 7] = MNIST_SIZE
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 1e-6
    num_train: Count | Literal["all", "fresh"] = "all"
    num_val: Annotated[int, Field(ge=2, le=10**6)] = MNIST_HELD_OUT
    num_test: Annotated[int, Field(ge=2, le=10**6)] = MNIST_HELD_OUT
    truth_id: str | None = None

    @model_validator(mode="after")
    def _source_allows(self) -> Self:
        if self.source == "mnist":
            if self.num_train == "fresh":
                raise ValueError("num_train: fresh needs source: synthetic; MNIST has 50,000 training images")
            if self.num_train != "all" and self.num_train > MNIST_TRAIN:
                raise ValueError(f"num_train is {self.num_train}, MNIST has {MNIST_TRAIN} training images")
            if max(self.num_val, self.num_test) > MNIST_HELD_OUT:
                raise ValueError(f"num_val and num_test are at most {MNIST_HELD_OUT} on MNIST")
            if self.truth_id is not None:
                raise ValueError("truth_id goes with source: synthetic")
        elif self.num_train == "all":
            raise ValueError("num_train of synthetic data is a number or fresh, not all")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (1, self.image_size, self.image_size)


class ParadigmConfig(Frozen):
    """What every way of training has.

    Attributes:
        steps: optimiser steps of the flow; 0 measures the start and trains nothing.
        batch_size: images a step.
        eval_every: steps between evaluations (the start and the end are always evaluated); they choose ``best``.
        ema_decay: exponential moving average of the weights, evaluated beside the raw ones; 0 is none.
    """

    steps: Annotated[int, Field(ge=0, le=10**8)] = 20_000
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    eval_every: Count = 1_000
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def images_per_step(self) -> int:
        """Training images that a step takes."""
        return self.batch_size


class NLLConfig(ParadigmConfig):
    """Maximum likelihood by Adam with cosine decay."""

    name: Literal["nll"] = "nll"
    lr: Rate = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


class NSGANConfig(ParadigmConfig):
    """Non-saturating GAN (Goodfellow et al. 2014, §3) with the flow as generator.

    Attributes:
        lr, disc_lr: of generator and discriminator.
        beta1: Adam's first moment, of both.
        disc_steps: discriminator steps for each generator step.
        disc_width: feature maps of the discriminator's first convolution.
        disc_input: what the discriminator sees.
    """

    name: Literal["nsgan"] = "nsgan"
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    lr: Rate = 2e-4
    disc_lr: Rate = 2e-4
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    disc_steps: Annotated[int, Field(ge=1, le=100)] = 1
    disc_width: Annotated[int, Field(ge=1, le=1024)] = 32
    disc_input: Literal["pixels", "logits"] = "pixels"

    @property
    def images_per_step(self) -> int:
        """A batch for each step of the discriminator."""
        return self.batch_size * self.disc_steps


AnyParadigm = Annotated[NLLConfig | NSGANConfig, Field(discriminator="name")]


class Cell(Frozen):
    """One training run.

    Attributes:
        start: ``random``, or ``truth``: the truth's own weights.
        precision: arithmetic of training, resolved at submission; reported densities are always fp32.
        seed: of every random stream; on synthetic data also the disjoint block of training images.
        degree: the flow's name relative to the truth. A label: the flow itself is what counts, so it is not in the id.
    """

    data: DataConfig
    flow: FlowConfig
    paradigm: AnyParadigm = NLLConfig()
    start: Literal["random", "truth"] = "random"
    precision: Precision = "fp32"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    degree: Degree | Literal["custom"] = "custom"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.flow.shape != self.data.shape:
            raise ValueError(f"the flow is for images of shape {self.flow.shape}, the data are {self.data.shape}")
        return self

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits of the SHA-256 of schema version and canonical JSON, without the label."""
        return digest({"schema": SCHEMA, "cell": self.model_dump(mode="json", exclude={"degree"})})

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, but the id is worked out anew."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("id", None)
        return copied

    @property
    def label(self) -> str:
        """Short text for tables and logs: degree, paradigm, N, start, seed."""
        size = f"{self.data.source}:{self.data.num_train}"
        return f"{self.degree} {self.paradigm.name} {size} {self.start} seed {self.seed}"


def digest(value: object) -> str:
    """16 hexadecimal digits of the SHA-256 of ``value`` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class DatasetConfig(Frozen):
    """The synthetic set drawn once from the truth: seed k trains on the k-th disjoint block of it.

    ``num_train`` is a pool. A larger pool begins with the smaller one, so that it is not part of any id.
    """

    num_train: Count = 50_000
    num_val: Annotated[int, Field(ge=2, le=10**6)] = 10_000
    num_test: Annotated[int, Field(ge=2, le=10**6)] = 10_000
    num_entropy: Annotated[int, Field(ge=2, le=10**7)] = 50_000


class MetricsConfig(Frozen):
    """What is measured. Not part of a cell's id: a metric more or less leaves the training as it is.

    Attributes:
        frechet: feature extractors that a Fréchet distance is computed with.
        num_samples: model samples behind Fréchet distances and the reverse KL.
        num_train_eval: training images behind ``train_nll_nats`` at an evaluation.
        num_kept: samples kept in the result for pictures.
    """

    frechet: Annotated[tuple[Literal["lenet", "inception"], ...], Field(strict=False)] = ("lenet",)
    num_samples: Annotated[int, Field(ge=2, le=10**6)] = 2_000
    num_train_eval: Annotated[int, Field(ge=2, le=10**6)] = 2_000
    num_kept: Annotated[int, Field(ge=0, le=4096)] = 64


class Resources(Frozen):
    """What a job asks for; apart from science."""

    time_min: Annotated[int, Field(ge=1, le=60 * 24 * 365)] = 240
    memory_gb: Annotated[int, Field(ge=1, le=16_384)] = 4
    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    gpus: Annotated[int, Field(ge=0, le=64)] = 0


class Study(Frozen):
    """A resolved study: everything that is to be run.

    Attributes:
        truth: the training run whose best weights become the truth; None in a study of real data alone.
        cells: in the order of the file, no two with the same id.
        claims_sha256: of the rules by which its claims will be judged, as registered when it was first submitted; empty
            where none were.
    """

    name: Name
    truth: Cell | None = None
    dataset: DatasetConfig = DatasetConfig()
    cells: tuple[Cell, ...]
    metrics: MetricsConfig = MetricsConfig()
    resources: Resources = Resources()
    claims_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""

    @property
    def needs_dataset(self) -> bool:
        """Whether any cell reads synthetic images."""
        return any(cell.data.source == "synthetic" for cell in self.cells)
