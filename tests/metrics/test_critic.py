"""The independent critic compared with known divergences."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from nllgen.metrics.critic import GROUP, critic_jsd
from nllgen.metrics.exact import Estimate, FloatArray, jsd
from nllgen.metrics.measurement import EvalSet, Measurement, References
from nllgen.models import Model

STD, N = 0.1, 2_000


def images(seed: int, n: int = N, shift: float = 0.0) -> Tensor:
    """Draw independent normal pixels around ½, 8×8."""
    noise = torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return 0.5 + shift + STD * noise


def score(real: Tensor, fake: Tensor, seed: int = 0) -> Estimate:
    return critic_jsd(real, fake, torch.Generator().manual_seed(seed))


def exact(shift: float, n: int = 100_000) -> float:
    """Estimate the divergence of two such distributions; log p − log q is linear in the mean pixel."""

    def r(x: Tensor) -> FloatArray:
        return ((64 * shift**2 - 2 * shift * (x - 0.5).sum((1, 2, 3))) / (2 * STD**2)).double().numpy()

    return jsd(r(images(1, n)), r(images(2, n, shift))).value


@pytest.mark.parametrize(("shift", "share"), [(0.01, 0.3), (0.02, 0.7), (0.04, 0.9)])
def test_the_bound_is_below_and_near_the_exact_divergence(shift: float, share: float) -> None:
    found, true = score(images(3), images(4, shift=shift)), exact(shift)
    assert true * share < found.value < true + 4 * found.se


def test_equal_distributions_have_bound_0() -> None:
    found = score(images(5), images(6))
    assert abs(found.value) <= 4 * found.se


def test_disjoint_distributions_have_bound_ln_2() -> None:
    assert score(images(7, 400), 1 - 0.1 * images(8, 400)).value > 0.95 * math.log(2)


def test_memorised_images_do_not_raise_the_bound() -> None:
    real, fake = images(9, 200), images(10, 200)  # easily learnt by heart
    assert score(real, fake).value < 0.02


def test_the_bound_is_reproducible() -> None:
    assert score(images(11, 200), images(12, 200)) == score(images(11, 200), images(12, 200))


class Copier(Model):
    """A model without a density whose draws come from elsewhere."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return 0.5 + self.shift + STD * torch.randn(n, 1, 8, 8, generator=generator)


@pytest.fixture
def references() -> References:
    sets = {split: EvalSet(images(seed, 600)) for seed, split in enumerate(("train", "val", "test"))}
    return References(
        sets,
        None,
        (),
        dict.fromkeys(sets, 600),
        lambda x: x,
        lambda purpose: torch.Generator().manual_seed(len(purpose)),
    )


def test_a_model_is_measured_beside_its_floor(references: References) -> None:
    far, near = (GROUP.measure(Measurement(references, Copier(shift), "val")) for shift in (0.1, 0.0))
    assert set(far) == set(GROUP.columns)
    assert far["critic_jsd_nats"] > 0.6
    assert abs(near["critic_jsd_nats"] - near["critic_jsd_floor_nats"]) < 0.05
    assert far["critic_jsd_floor_nats"] == near["critic_jsd_floor_nats"]


def test_without_enough_other_images_there_is_no_floor(references: References) -> None:
    fewer = dataclasses.replace(references, sets={**references.sets, "test": EvalSet(images(0, 599))}, _cache={})
    row = GROUP.measure(Measurement(fewer, Copier(0.1), "val"))
    assert math.isnan(row["critic_jsd_floor_nats"])
    assert row["critic_jsd_nats"] > 0.6


def test_non_finite_draws_have_no_bound(references: References) -> None:
    assert math.isnan(GROUP.measure(Measurement(references, Copier(math.nan), "val"))["critic_jsd_nats"])
