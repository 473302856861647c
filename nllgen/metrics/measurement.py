"""References that models are compared with, and quantities of a model that several metrics share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from nllgen.metrics.exact import FloatArray, draw, log_densities
from nllgen.metrics.features import Extractor
from nllgen.models import DensityModel, Model, RealNVP

Row = dict[str, float]
Need = Literal["density", "truth", "extractor", "training", "halves"]
OTHER = {"val": "test", "test": "val"}
_CHUNK = 5_000  # images converted to pixels at a time
T = TypeVar("T")


@dataclass(frozen=True)
class EvalSet:
    """Images on which densities are measured.

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
    """Fixed images and latents that are the same for every model and every evaluation.

    Attributes:
        sets: ``train`` (a part of the training images, or as many new ones), ``val``, ``test``.
        truth: the density that the data are drawn from, None on real data.
        extractors: of image features.
        num_samples: maps a split to the number of the model's samples.
        to_pixels: maps logits to pixels in [0, 1].
        generator: creates the generator of a purpose, with the same seed at every call. It is independent of the
            training's streams.
        training: all training images, as logits or as uint8 levels; None where every image is new.
    """

    sets: Mapping[str, EvalSet]
    truth: DensityModel | None
    extractors: tuple[Extractor, ...]
    num_samples: Mapping[str, int]
    to_pixels: Callable[[Tensor], Tensor]
    generator: Callable[[str], torch.Generator]
    training: Tensor | None = None
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def cached(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the result of ``compute``, which is called once per key."""
        if key not in self._cache:
            self._cache[key] = compute()
        result: T = self._cache[key]
        return result

    def floor_rows(self, split: str) -> Tensor | None:
        """Draw the rows of the other split that replace a model's draws on this split; None if there are too few.

        Data sets are ordered: MNIST's test set begins with the cleaner digits.
        """
        num, total = self.num_samples[split], len(self.sets[OTHER[split]].x)
        if total < num:
            return None
        generator = self.generator(f"floor-{split}")
        return torch.randperm(total, generator=generator, device=generator.device)[:num].sort().values

    def features(self, extractor: Extractor, split: str) -> FloatArray:
        """Return the features (N, d) of the held-out images of a split."""
        key = ("features", extractor.name, split)
        return self.cached(key, lambda: self.features_of(extractor, self.sets[split].x))

    def training_features(self, extractor: Extractor) -> FloatArray:
        """Return the features (N, d) of all training images."""
        assert self.training is not None
        images = self.training
        return self.cached(("features", extractor.name, "training"), lambda: self.features_of(extractor, images))

    def features_of(self, extractor: Extractor, images: Tensor) -> FloatArray:
        """Compute features (N, d) of logits or uint8 levels (N, C, H, W)."""
        parts = torch.split(images, _CHUNK)
        return np.concatenate(
            [extractor.features(part if part.dtype == torch.uint8 else self.to_pixels(part)) for part in parts]
        )


@dataclass(frozen=True)
class Measurement:
    """A model on a held-out split. Each quantity is computed on its first use."""

    references: References
    model: Model
    split: str

    @property
    def held_out(self) -> EvalSet:
        """Return the images of the split."""
        return self.references.sets[self.split]

    def has(self, need: Need) -> bool:
        """Return whether a requirement of a metric is met."""
        is_met = {
            "density": isinstance(self.model, DensityModel),
            "truth": self.references.truth is not None,
            "extractor": bool(self.references.extractors),
            "training": self.references.training is not None,
            "halves": isinstance(self.model, RealNVP) and len(self.model.scales) > 0,
        }
        return is_met[need]

    @property
    def density(self) -> DensityModel:
        """Return the model, which must have a density."""
        assert isinstance(self.model, DensityModel)
        return self.model

    @cached_property
    def log_q(self) -> FloatArray:
        """Compute log q of the held-out images (N,), nats."""
        return log_densities(self.density, self.held_out.x)

    @cached_property
    def log_q_train(self) -> FloatArray:
        """Compute log q of the measured training images (N,), nats."""
        return log_densities(self.density, self.references.sets["train"].x)

    @cached_property
    def samples(self) -> Tensor:
        """Draw the model's samples (n, C, H, W), logits; n is the split's ``num_samples``."""
        generator = self.references.generator(f"samples-{self.split}")
        return draw(self.model, self.references.num_samples[self.split], generator)

    @cached_property
    def r_held_out(self) -> FloatArray:
        """Compute r = log p − log q at the held-out images (N,), which are draws of the truth."""
        assert self.held_out.log_p is not None
        return self.held_out.log_p - self.log_q

    @cached_property
    def r_samples(self) -> FloatArray:
        """Compute r = log p − log q at the model's samples (n,)."""
        assert self.references.truth is not None
        return log_densities(self.references.truth, self.samples) - log_densities(self.density, self.samples)

    def features(self, extractor: Extractor, images: Tensor) -> FloatArray | None:
        """Compute features (n, d) of logits (n, C, H, W), once per tensor; None if a pixel is not finite."""
        key = (extractor.name, id(images))
        if key not in self._features:
            finite = bool(self.references.to_pixels(images).isfinite().all())
            self._features[key] = (images, self.references.features_of(extractor, images) if finite else None)
        return self._features[key][1]

    @cached_property
    def _features(self) -> dict[tuple[str, int], tuple[Tensor, FloatArray | None]]:
        return {}  # it keeps the images, so that no other tensor gets their id
