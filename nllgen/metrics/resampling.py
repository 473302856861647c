"""True images of which half of the latents are drawn anew (Danihelka et al. 2017, §5).

A Real NVP maps an image to latents, half of which leave at its first scale, the fine ones, and half go on, the coarse
ones. Where the model is the truth, latents of true images are independent draws of the base: whichever half is drawn
anew, what comes out is a true image. A model that only its samples are trained of may map true images to where the base
never is; its halves then depend on each other, and their mixture looks like nothing.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from nllgen.metrics.exact import BATCH
from nllgen.metrics.frechet import distance_to_reference
from nllgen.metrics.measurement import OTHER, Measurement, Need, Row
from nllgen.metrics.metric_group import Features, MetricGroup, image_group
from nllgen.models import RealNVP
from nllgen.models.coupling import squeeze, unsqueeze

Half = Literal["fine", "coarse"]
_NEEDS: tuple[Need, ...] = ("halves",)


@torch.no_grad()
def resampled(flow: RealNVP, x: Tensor, half: Half, generator: torch.Generator) -> Tensor:
    """Images (n, C, H, W), logits, with one half of their latents drawn from the base: (n, C, H, W).

    Args:
        flow: of more than one scale.
        x: images, logits.
        half: ``fine``: the latents that leave at the first scale; ``coarse``: all others.
        generator: of the new latents, on the flow's device.
    """
    parts = []
    with torch.autocast(x.device.type, enabled=False):
        for part in torch.split(x, BATCH):
            coarse, fine = squeeze(flow.forward(part)[0]).chunk(2, dim=1)
            new_coarse, new_fine = squeeze(flow.sample_base(len(part), generator)).chunk(2, dim=1)
            mixed = (coarse, new_fine) if half == "fine" else (new_coarse, fine)
            parts.append(flow.inverse(unsqueeze(torch.cat(mixed, dim=1)))[0])
    return torch.cat(parts)


def _images(measurement: Measurement, half: Half) -> Tensor | None:
    """Of the other held-out split, as many as the model draws: the images behind the floor. None where it has fewer."""
    references, flow = measurement.references, measurement.model
    assert isinstance(flow, RealNVP)
    num = references.num_samples[measurement.split]
    x = references.sets[OTHER[measurement.split]].x[:num]
    if len(x) < num:
        return None
    return resampled(flow, x, half, references.generator(f"resampled-{half}-{measurement.split}"))


def _compare(features: Features, half: Half) -> Row:
    return {f"frechet_{half}": distance_to_reference(features)(features.samples)}


def _group(half: Half) -> MetricGroup:
    compare, images = partial(_compare, half=half), partial(_images, half=half)
    return image_group(f"resampling_{half}", (f"frechet_{half}",), (), compare, images=images, needs=_NEEDS)


_HALVES = (_group("fine"), _group("coarse"))


def _measure(measurement: Measurement) -> Row:
    return {name: value for each in _HALVES for name, value in each.measure(measurement).items()}


GROUP = MetricGroup("resampling", tuple(name for each in _HALVES for name in each.columns), _HALVES[0].needs, _measure)
