"""All that is measured of a flow at one moment. Takes nothing from the training's random streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nllgen.flow import DensityModel, Model, RealNVP
from nllgen.flow.numerics import numerical_errors
from nllgen.metrics.exact import FloatArray, bits_per_dim, draw, jsd, kl, log_densities, reverse_kl
from nllgen.metrics.frechet import frechet_distance, moments

Row = dict[str, float]
_CHECKED = 16  # images behind the numerical errors


class Extractor(Protocol):
    """Image features for a Fréchet distance."""

    @property
    def name(self) -> str:
        """In column names."""

    @property
    def sha256(self) -> str:
        """Of its weights."""

    def features(self, images: Tensor) -> npt.NDArray[np.float64]:
        """Pixels (N, C, H, W) in [0, 1] → (N, d)."""


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
class Evaluator:
    """Measures flows on fixed images with fixed latents.

    Attributes:
        sets: ``train`` (a part of the training images, or as many fresh ones), ``val``, ``test``.
        truth: the density that the data are drawn from, None on real data.
        extractors: of image features.
        num_samples: model samples behind Fréchet distances and the reverse KL.
        to_pixels: logits → pixels in [0, 1].
        generator: makes the generator of a purpose's latents, the same at every call.
    """

    sets: Mapping[str, EvalSet]
    truth: RealNVP | None
    extractors: tuple[Extractor, ...]
    num_samples: int
    to_pixels: Callable[[Tensor], Tensor]
    generator: Callable[[str], torch.Generator]

    def measure(self, flow: Model, split: str = "val") -> Row:
        """Every metric column of ``flow`` that it can have; those on held-out images are named after the split."""
        with np.errstate(invalid="ignore", over="ignore"):  # a diverged flow's numbers are inf and NaN, and stay so
            samples = draw(flow, self.num_samples, self.generator(f"samples-{split}"))
            row = self._frechet(samples, split)
            if isinstance(flow, DensityModel):
                log_q = log_densities(flow, self.sets[split].x)
                row |= self._densities(flow, split, log_q)
                if self.truth is not None:
                    row |= self._against_truth(flow, split, log_q, samples)
            return row

    def numerical_errors(self, flow: Model, split: str = "test") -> Row:
        """Largest |fp32 − fp64| log-density and largest inversion error over a few images, of a Real NVP."""
        if not isinstance(flow, RealNVP):
            return {}
        density, inverse = numerical_errors(flow, self.sets[split].x[:_CHECKED])
        return {"fp_error_nats": density, "inverse_error": inverse}

    def _densities(self, flow: DensityModel, split: str, log_q: FloatArray) -> Row:
        train, held_out = self.sets["train"], self.sets[split]
        log_q_train = log_densities(flow, train.x)
        nll = -float(log_q.mean())
        row = {"train_nll_nats": -float(log_q_train.mean()), f"{split}_nll_nats": nll}
        if held_out.log_det is not None:
            num_dims = math.prod(held_out.x.shape[1:])
            row[f"{split}_bits_per_dim"] = bits_per_dim(nll, float(held_out.log_det.mean()), num_dims)
        if train.log_p is not None:
            row["overfit_nats"] = float((log_q_train - train.log_p).mean())
        return row

    def _against_truth(self, flow: DensityModel, split: str, log_q: FloatArray, samples: Tensor) -> Row:
        assert self.truth is not None
        held_out = self.sets[split]
        assert held_out.log_p is not None
        log_p_at_q, log_q_at_q = log_densities(self.truth, samples), log_densities(flow, samples)
        forward, reverse = kl(held_out.log_p, log_q), reverse_kl(log_p_at_q, log_q_at_q)
        between = jsd(held_out.log_p - log_q, log_p_at_q - log_q_at_q)
        return {
            "kl_nats": forward.value,
            "kl_se_nats": forward.se,
            "reverse_kl_nats": reverse.value,
            "reverse_kl_se_nats": reverse.se,
            "jsd_nats": between.value,
            "jsd_se_nats": between.se,
        }

    def _frechet(self, samples: Tensor, split: str) -> Row:
        row: Row = {}
        for extractor in self.extractors:
            reference, floor = self._references[split, extractor.name]
            pixels = self.to_pixels(samples)
            distance = math.nan
            if pixels.isfinite().all():
                distance = frechet_distance(*moments(extractor.features(pixels)), *reference)
            row[f"frechet_{extractor.name}"] = distance
            row[f"frechet_floor_{extractor.name}"] = floor
        return row

    @cached_property
    def _references(self) -> dict[tuple[str, str], tuple[tuple[FloatArray, FloatArray], float]]:
        """Moments of the held-out images, and the distance of other true images to them at the models' N."""
        found = {}
        for extractor in self.extractors:
            parts = {split: extractor.features(self.to_pixels(self.sets[split].x)) for split in ("val", "test")}
            for split, other in (("val", "test"), ("test", "val")):
                reference = moments(parts[split])
                others = parts[other][: self.num_samples]
                enough = len(others) == self.num_samples  # a floor at another N would be another floor
                floor = frechet_distance(*moments(others), *reference) if enough else math.nan
                found[split, extractor.name] = (reference, floor)
        return found
