"""What metrics share: the images that models are measured on, and what is computed of a model once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nllgen.metrics.exact import FloatArray, draw, log_densities
from nllgen.models import DensityModel, Model, RealNVP

Row = dict[str, float]
Need = Literal["density", "truth", "extractor", "training", "halves"]
OTHER = {"val": "test", "test": "val"}
_CHUNK = 5_000  # images turned into pixels at once
T = TypeVar("T")


class Extractor(Protocol):
    """Image features for the metrics of images."""

    @property
    def name(self) -> str:
        """In column names."""

    @property
    def sha256(self) -> str:
        """Of its weights."""

    @property
    def device(self) -> torch.device:
        """Where its network lies; distances between features are computed there as well."""

    def features(self, images: Tensor) -> npt.NDArray[np.float64]:
        """Pixels (N, C, H, W) in [0, 1], or uint8 levels → (N, d)."""


@dataclass(frozen=True)
class EvalSet:
    """Images that densities are measured on.

    Attributes:
        x: (N, C, H, W) logits.
        log_p: the truth's log-density (N,), nats; None on real data.
        log_det: log|dy/du| of dequantised 8-bit data (N,), nats; None on synthetic data.
    """

    x: Tensor
    log_p: FloatArray | None = None
    log_det: FloatArray | None = None


@dataclass(frozen=True)
class References:
    """What models are measured against: fixed images and fixed latents, the same for every model and moment.

    Attributes:
        sets: ``train`` (a part of the training images, or as many fresh ones), ``val``, ``test``.
        truth: the density that the data are drawn from, None on real data.
        extractors: of image features.
        num_samples: split → model samples behind whatever needs samples.
        to_pixels: logits → pixels in [0, 1].
        generator: makes the generator of a purpose, the same at every call; nothing of the training's streams.
        training: every training image, as logits or as uint8 levels; None where each is fresh.
    """

    sets: Mapping[str, EvalSet]
    truth: DensityModel | None
    extractors: tuple[Extractor, ...]
    num_samples: Mapping[str, int]
    to_pixels: Callable[[Tensor], Tensor]
    generator: Callable[[str], torch.Generator]
    training: Tensor | None = None
    _kept: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, made at the first call of a key and kept."""
        if key not in self._kept:
            self._kept[key] = make()
        found: T = self._kept[key]
        return found

    def features(self, extractor: Extractor, split: str) -> FloatArray:
        """Features (N, d) of the held-out images of a split."""
        key = ("features", extractor.name, split)
        return self.once(key, lambda: self.features_of(extractor, self.sets[split].x))

    def training_features(self, extractor: Extractor) -> FloatArray:
        """Features (N, d) of every training image."""
        assert self.training is not None
        images = self.training
        return self.once(("features", extractor.name, "training"), lambda: self.features_of(extractor, images))

    def features_of(self, extractor: Extractor, images: Tensor) -> FloatArray:
        """Features (N, d) of logits, or of uint8 levels, (N, C, H, W)."""
        parts = torch.split(images, _CHUNK)
        return np.concatenate(
            [extractor.features(part if part.dtype == torch.uint8 else self.to_pixels(part)) for part in parts]
        )


@dataclass(frozen=True)
class Measurement:
    """One model on one held-out split. Each quantity is computed when the first metric asks for it."""

    references: References
    model: Model
    split: str

    @property
    def held_out(self) -> EvalSet:
        """The images of the split."""
        return self.references.sets[self.split]

    def has(self, need: Need) -> bool:
        """Whether something that a metric needs is there."""
        there = {
            "density": isinstance(self.model, DensityModel),
            "truth": self.references.truth is not None,
            "extractor": bool(self.references.extractors),
            "training": self.references.training is not None,
            "halves": isinstance(self.model, RealNVP) and len(self.model.scales) > 0,
        }
        return there[need]

    @property
    def density(self) -> DensityModel:
        """The model, which has a density."""
        assert isinstance(self.model, DensityModel)
        return self.model

    @cached_property
    def log_q(self) -> FloatArray:
        """log q of the held-out images (N,), nats."""
        return log_densities(self.density, self.held_out.x)

    @cached_property
    def log_q_train(self) -> FloatArray:
        """log q of the measured training images (N,), nats."""
        return log_densities(self.density, self.references.sets["train"].x)

    @cached_property
    def samples(self) -> Tensor:
        """The model's draws (n, C, H, W), logits; n is the split's ``num_samples``."""
        generator = self.references.generator(f"samples-{self.split}")
        return draw(self.model, self.references.num_samples[self.split], generator)

    @cached_property
    def r_held_out(self) -> FloatArray:
        """r = log p − log q at the held-out images (N,), draws of the truth."""
        assert self.held_out.log_p is not None
        return self.held_out.log_p - self.log_q

    @cached_property
    def r_samples(self) -> FloatArray:
        """r = log p − log q at the model's draws (n,)."""
        assert self.references.truth is not None
        return log_densities(self.references.truth, self.samples) - log_densities(self.density, self.samples)

    def features(self, extractor: Extractor, images: Tensor | None) -> FloatArray | None:
        """Features (n, d) of images, logits (n, C, H, W); None where a pixel is not finite."""
        if images is None:
            return None
        found, key = self._features, (extractor.name, id(images))
        if key not in found:
            finite = bool(self.references.to_pixels(images).isfinite().all())
            found[key] = (images, self.references.features_of(extractor, images) if finite else None)
        return found[key][1]

    @cached_property
    def _features(self) -> dict[tuple[str, int], tuple[Tensor, FloatArray | None]]:
        return {}  # with the images, so that no others get their id
