"""Resampling half of the latents: it has no effect at the truth, but elsewhere."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from nllgen.data.logits import from_logits
from nllgen.metrics.exact import draw, log_densities
from nllgen.metrics.lenet import LeNetExtractor
from nllgen.metrics.measurement import EvalSet, Measurement, References
from nllgen.metrics.resampling import GROUP, Half, resample_half
from nllgen.models import RealNVP
from nllgen.models.coupling import squeeze
from nllgen.study.config import FlowConfig

FLOW = FlowConfig(shape=(1, 28, 28), width=2, blocks=0, scales=2)
N = 300


def flow(seed: int, config: FlowConfig = FLOW, scale: float = 0.1) -> RealNVP:
    torch.manual_seed(seed)
    made = RealNVP(config).requires_grad_(False)
    for parameter in made.parameters():
        parameter.add_(scale * torch.randn_like(parameter))
    return made


def latents(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def truth() -> RealNVP:
    return flow(0)


@pytest.fixture(scope="module")
def references(truth: RealNVP) -> References:
    sets = {split: EvalSet(draw(truth, N, latents(seed))) for seed, split in enumerate(("train", "val", "test"))}
    pixels = lambda x: from_logits(x, 1e-6)  # noqa: E731
    return References(
        sets, truth, (LeNetExtractor("cpu"),), dict.fromkeys(sets, N), pixels, lambda purpose: latents(len(purpose))
    )


@pytest.mark.parametrize("half", ["fine", "coarse"])
def test_at_the_truth_true_images_stay_true_images(truth: RealNVP, half: Half) -> None:
    x = draw(truth, 1_000, latents(1))
    new = resample_half(truth, x, half, latents(2))
    before, after = log_densities(truth, x), log_densities(truth, new)
    error = math.hypot(before.std(), after.std()) / math.sqrt(1_000)
    assert abs(before.mean() - after.mean()) < 4 * error
    assert not np.allclose(before, after)


@pytest.mark.parametrize("half", ["fine", "coarse"])
def test_one_half_of_the_latents_is_kept_and_the_other_is_new(truth: RealNVP, half: Half) -> None:
    x = draw(truth, 20, latents(1))
    before, after = (
        squeeze(truth.forward(each)[0]).chunk(2, dim=1) for each in (x, resample_half(truth, x, half, latents(2)))
    )
    coarse, fine = ((one - two).abs().amax() for one, two in zip(before, after, strict=True))
    kept, new = (coarse, fine) if half == "fine" else (fine, coarse)
    assert kept < 1e-3 < 1 < new


def test_at_the_truth_the_distance_is_about_its_floor_and_elsewhere_far_above(
    references: References, truth: RealNVP
) -> None:
    here, there = (GROUP.measure(Measurement(references, model, "val")) for model in (truth, flow(1, scale=0.3)))
    assert set(here) == {name for name in GROUP.columns if name.endswith("_lenet")}
    for half in ("fine", "coarse"):
        floor = here[f"frechet_{half}_floor_lenet"]
        assert here[f"frechet_{half}_lenet"] < 2 * floor
        assert there[f"frechet_{half}_lenet"] > 4 * floor


def test_with_fewer_other_images_there_is_no_distance(references: References, truth: RealNVP) -> None:
    fewer = dataclasses.replace(
        references, sets={**references.sets, "test": EvalSet(draw(truth, N - 1, latents(3)))}, _cache={}
    )
    row = GROUP.measure(Measurement(fewer, truth, "val"))
    assert all(math.isnan(value) for value in row.values())


def test_a_flow_of_one_scale_has_no_halves(references: References) -> None:
    one = flow(0, FlowConfig(shape=(1, 28, 28), width=2, blocks=0, scales=1))
    assert not all(Measurement(references, one, "val").has(need) for need in GROUP.needs)
