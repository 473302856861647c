"""Metrics do not depend on the order of the images that they are given, beyond their error."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nllgen.metrics.feature_metrics import FeatureSets
from nllgen.metrics.lenet import LeNetExtractor
from nllgen.metrics.measurement import EvalSet, Measurement, References, Row
from nllgen.metrics.prdc import _compute
from nllgen.metrics.registry import GROUPS
from nllgen.models import Model

N = 400


class Noise(Model):
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return images(n, 1.0, generator)


def images(n: int, scale: float, generator: torch.Generator | None) -> Tensor:
    return scale * torch.randn(n, 1, 28, 28, generator=generator)


def seeded(purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(len(purpose))


def references(val: Tensor, test: Tensor) -> References:
    sets = {"val": EvalSet(val), "test": EvalSet(test)}
    return References(sets, None, (LeNetExtractor("cpu"),), {"test": N // 2}, torch.sigmoid, seeded)


@pytest.mark.parametrize(("name", "error"), [("frechet", 0), ("frechet_inf", 0), ("kid", 0), ("prdc", 0.1)])
def test_a_floor_is_that_of_a_random_subset(name: str, error: float) -> None:
    """The other split begins with images like the reference, and ends with others, or the reverse."""
    generator = torch.Generator().manual_seed(0)
    test, alike, unlike = (images(n, s, generator) for n, s in ((N, 1.0), (N // 2, 1.0), (N // 2, 9.0)))

    def floors(val: Tensor) -> Row:
        row = GROUPS[name].measure(Measurement(references(val, test), Noise(), "test"))
        return {key: value for key, value in row.items() if "floor" in key}

    first, last, pure = (floors(torch.cat(parts)) for parts in ((alike, unlike), (unlike, alike), (alike, alike)))
    for key, value in first.items():
        assert abs(value - last[key]) <= 0.5 * abs(value - pure[key]) + error, (key, first, last, pure)


def test_the_same_number_of_images_is_used_whole() -> None:
    x = images(N // 2, 1.0, torch.Generator().manual_seed(0))
    rows = references(x, x).floor_rows("test")
    assert rows is not None
    assert torch.equal(rows, torch.arange(N // 2))
    assert references(x[1:], x).floor_rows("test") is None


def test_more_samples_than_references_are_drawn_from() -> None:
    generator = torch.Generator().manual_seed(0)
    known, alike, unlike = (images(n, s, generator) for n, s in ((100, 1.0), (200, 1.0), (200, 9.0)))
    context = references(known, known)
    extractor = context.extractors[0]
    precisions = []
    for parts in ((alike, unlike), (unlike, alike)):
        features = context.features_of(extractor, torch.cat(parts))
        precisions.append(_compute(FeatureSets(features, context, extractor, "test", seeded("x")))["precision"])
    assert precisions[0] == pytest.approx(precisions[1], abs=0.2)
    assert 0.1 < precisions[0] < 0.8
