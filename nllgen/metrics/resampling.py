"""Fréchet distances of true images after half of their latents were resampled (Danihelka et al. 2017, §5).

A Real NVP maps an image to latents: a fine half, split off at its first scale, and a coarse half, which its further
scales transform. If the model is the truth, latents of true images are independent draws of the base, so that
resampling either half gives another true image. A model trained only through its samples may map true images to latents
of low density under the base. The halves are then dependent, and images from mixed halves are unlike any true image.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from nllgen.metrics.batches import in_batches
from nllgen.metrics.exact import BATCH
from nllgen.metrics.feature_metrics import FeatureMetrics, FeatureSets
from nllgen.metrics.frechet import distance_to_reference
from nllgen.metrics.measurement import OTHER, Measurement, Row
from nllgen.metrics.metric_group import MetricGroup
from nllgen.models import RealNVP
from nllgen.models.coupling import squeeze, unsqueeze

Half = Literal["fine", "coarse"]


@torch.no_grad()
def resample_half(flow: RealNVP, x: Tensor, half: Half, generator: torch.Generator) -> Tensor:
    """Replace one half of the latents of images (n, C, H, W), logits, by draws from the base.

    The flow has more than one scale. Its ``fine`` latents are those split off at the first scale; all others are
    ``coarse``. The new latents come from ``generator``, on the flow's device.
    """

    def resample(images: Tensor, latents: Tensor) -> Tensor:
        coarse, fine = squeeze(flow.forward(images)[0]).chunk(2, dim=1)
        new_coarse, new_fine = squeeze(latents).chunk(2, dim=1)
        mixed = (coarse, new_fine) if half == "fine" else (new_coarse, fine)
        return flow.inverse(unsqueeze(torch.cat(mixed, dim=1)))[0]

    resampled: list[Tensor] = []
    with torch.autocast(x.device.type, enabled=False):
        for images in torch.split(x, BATCH):
            latents = flow.sample_base(len(images), generator)
            resampled += in_batches(resample, images, latents, batch=BATCH)
    return torch.cat(resampled)


def _resampled_images(measurement: Measurement, half: Half) -> Tensor | None:
    """Redraw half of the latents of images of the other held-out split, as many as the model draws.

    The floor is that of the same images as they were. None if the split has fewer images.
    """
    references, flow = measurement.references, measurement.model
    assert isinstance(flow, RealNVP)
    rows = references.floor_rows(measurement.split)
    if rows is None:
        return None
    x = references.sets[OTHER[measurement.split]].x[rows]
    return resample_half(flow, x, half, references.generator(f"resampled-{half}-{measurement.split}"))


def _compute(features: FeatureSets, half: Half) -> Row:
    return {f"frechet_{half}": distance_to_reference(features)(features.samples)}


def _half_metrics(half: Half) -> MetricGroup:
    return FeatureMetrics(
        f"resampling_{half}",
        (f"frechet_{half}",),
        compute=partial(_compute, half=half),
        images=partial(_resampled_images, half=half),
        needs=("halves",),
    ).group()


_FINE, _COARSE = _half_metrics("fine"), _half_metrics("coarse")


def _measure(measurement: Measurement) -> Row:
    return _FINE.measure(measurement) | _COARSE.measure(measurement)


GROUP = MetricGroup("resampling", _FINE.columns + _COARSE.columns, _FINE.needs, _measure)
