"""A metric group: columns that are computed together, and what they need. A group is a file and a registry line."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from nllgen.metrics.exact import FloatArray
from nllgen.metrics.measurement import OTHER, Extractor, Measurement, Need, References, Row

EXTRACTORS = ("lenet", "inception")


@dataclass(frozen=True)
class MetricGroup:
    """Metrics that are computed together.

    Attributes:
        name: in a study's ``metrics.every`` and ``metrics.final``, and of ``nllgen evaluate --metric``.
        columns: what it may give; ``val_`` in a name is ``test_`` on the test split.
        needs: what has to be there; else its columns are absent, and NaN in the files.
        measure: one model at one moment → columns.
    """

    name: str
    columns: tuple[str, ...]
    needs: frozenset[Need]
    measure: Callable[[Measurement], Row]


@dataclass(frozen=True)
class Features:
    """Two sets of images as a network sees them.

    Attributes:
        samples: features (n, d) of a model's draws, or for the floor of other true images.
        reference: (N, d) of the held-out images.
        training: (T, d) of every training image; None where nobody asked or each is fresh.
        generator: of whatever the metric draws; the same at every call.
        device: where distances are computed.
        once: (name, make) → what ``make`` gives, kept with the reference for the next model.
    """

    samples: FloatArray
    reference: FloatArray
    training: FloatArray | None
    generator: torch.Generator
    device: torch.device
    once: Callable[[str, Callable[[], Any]], Any]

    def tensor(self, features: FloatArray) -> Tensor:
        """Features as float64 on the device."""
        return torch.from_numpy(np.ascontiguousarray(features)).to(self.device, torch.float64)

    def shuffled(self, features: FloatArray) -> FloatArray:
        """Rows in a random order: files have an order of their own (MNIST's test set begins with the cleaner hands)."""
        order = torch.randperm(len(features), generator=self.generator, device=self.generator.device)
        shuffled: FloatArray = features[order.cpu().numpy()]
        return shuffled


Compare = Callable[[Features], Row]


def image_group(
    name: str,
    values: tuple[str, ...],
    errors: tuple[str, ...],
    compare: Compare,
    *,
    training: bool = False,
    images: Callable[[Measurement], Tensor | None] | None = None,
    needs: Collection[Need] = (),
) -> MetricGroup:
    """A group that compares images by their features, with each extractor, and with the floor of every value.

    The floor is what other true images get in the place of the model's, at the same number of images: what a perfect
    model would get. It is NaN where the other held-out split is too small, for a floor at another N is another floor.

    Args:
        name: of the group.
        values: names that ``compare`` gives and that have a floor: columns ``<value>_<extractor>`` and
            ``<value>_floor_<extractor>``.
        errors: further names, without a floor: columns ``<error>_<extractor>``.
        compare: two sets of features → values and errors.
        training: whether it needs the training images.
        images: what is compared with true images, in logits; the model's draws where not given. None has no
            values.
        needs: what it needs besides.
    """
    found = {"extractor", *needs} | ({"training"} if training else set())
    metric = _ImageMetric(name, values, errors, compare, training, images)
    return MetricGroup(name, metric.columns(), frozenset(cast("set[Need]", found)), metric.measure)


@dataclass(frozen=True)
class _ImageMetric:
    """What :func:`image_group` was given."""

    name: str
    values: tuple[str, ...]
    errors: tuple[str, ...]
    compare: Compare
    training: bool
    images: Callable[[Measurement], Tensor | None] | None

    def columns(self) -> tuple[str, ...]:
        found = []
        for extractor in EXTRACTORS:
            found += [f"{value}_{extractor}" for value in (*self.values, *self.errors)]
            found += [f"{value}_floor_{extractor}" for value in self.values]
        return tuple(found)

    def measure(self, measurement: Measurement) -> Row:
        row: Row = {}
        images = self.images(measurement) if self.images else measurement.samples
        for extractor in measurement.references.extractors:
            row |= self._measure_with(extractor, measurement, images)
        return row

    def _measure_with(self, extractor: Extractor, measurement: Measurement, images: Tensor | None) -> Row:
        references, split = measurement.references, measurement.split

        def make_floor() -> Row:
            return self._compared(references, extractor, split, _others(references, extractor, split))

        found = self._compared(references, extractor, split, measurement.features(extractor, images))
        floor = references.once(("floor", self.name, extractor.name, split), make_floor)
        row = {f"{name}_{extractor.name}": found.get(name, math.nan) for name in (*self.values, *self.errors)}
        return row | {f"{value}_floor_{extractor.name}": floor.get(value, math.nan) for value in self.values}

    def _compared(self, references: References, extractor: Extractor, split: str, features: FloatArray | None) -> Row:
        if features is None:
            return {}

        def once(what: str, make: Callable[[], Any]) -> Any:
            return references.once((what, extractor.name, split), make)

        trained_on = references.training_features(extractor) if self.training else None
        generator = references.generator(f"{self.name}-{split}")
        reference = references.features(extractor, split)
        return self.compare(Features(features, reference, trained_on, generator, extractor.device, once))


def _others(references: References, extractor: Extractor, split: str) -> FloatArray | None:
    """Features of as many other true images as a model draws, None where there are fewer."""
    num = references.num_samples[split]
    others = references.features(extractor, OTHER[split])[:num]
    return others if len(others) == num else None
