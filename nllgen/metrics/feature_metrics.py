"""Metrics that compare images by their features, with each extractor, and the floors of these metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from nllgen.metrics.exact import FloatArray
from nllgen.metrics.features import Extractor
from nllgen.metrics.measurement import OTHER, Measurement, Need, References, Row
from nllgen.metrics.metric_group import MetricGroup
from nllgen.study.metric_groups import EXTRACTORS

T = TypeVar("T")


@dataclass(frozen=True)
class FeatureSets:
    """Features of samples, and of the true images that they are compared with.

    Attributes:
        samples: features (n, d) of a model's draws or, for the floor, of other true images.
        references: the true images.
        extractor: the network that computed the features.
        split: of the true images.
        generator: for random numbers of the metric. Its seed is the same in every comparison.
    """

    samples: FloatArray
    references: References
    extractor: Extractor
    split: str
    generator: torch.Generator

    @property
    def reference(self) -> FloatArray:
        """Return the features (N, d) of the held-out images."""
        return self.references.features(self.extractor, self.split)

    @property
    def training(self) -> FloatArray:
        """Return the features (T, d) of all training images."""
        return self.references.training_features(self.extractor)

    def cached(self, name: str, compute: Callable[[], T]) -> T:
        """Return a quantity of the true images, which is computed for the first model only."""
        return self.references.cached((name, self.extractor.name, self.split), compute)

    def to_tensor(self, features: FloatArray) -> Tensor:
        """Copy features to the extractor's device, in float64."""
        return torch.from_numpy(np.ascontiguousarray(features)).to(self.extractor.device, torch.float64)

    def shuffle(self, features: FloatArray) -> FloatArray:
        """Permute rows at random."""
        order = torch.randperm(len(features), generator=self.generator, device=self.generator.device)
        shuffled: FloatArray = features[order.cpu().numpy()]
        return shuffled


@dataclass(frozen=True)
class FeatureMetrics:
    """Metrics of features that are computed together, with each extractor.

    Each value has a floor: the value of other true images in place of the model's, and so of a perfect model. It
    depends on the number of images, so it is NaN if the other held-out split has fewer images than the model draws.

    Attributes:
        name: of the metric group.
        values: results of ``compute`` with a floor: columns ``<value>_<extractor>`` and ``<value>_floor_<extractor>``.
        errors: results of ``compute`` without a floor: columns ``<error>_<extractor>``.
        compute: computes values and errors.
        images: returns the images to compare, in logits; None if there are none. The default is the model's draws.
        needs: requirements besides an extractor.
    """

    name: str
    values: tuple[str, ...]
    errors: tuple[str, ...] = ()
    _: KW_ONLY
    compute: Callable[[FeatureSets], Row]
    images: Callable[[Measurement], Tensor | None] = lambda measurement: measurement.samples
    needs: tuple[Need, ...] = ()

    def group(self) -> MetricGroup:
        """Return the metric group of these metrics."""
        names = (*self.values, *self.errors, *(f"{value}_floor" for value in self.values))
        columns = tuple(f"{name}_{extractor}" for extractor in EXTRACTORS for name in names)
        return MetricGroup(self.name, columns, frozenset[Need](("extractor", *self.needs)), self._measure)

    def _measure(self, measurement: Measurement) -> Row:
        images = self.images(measurement)
        row: Row = {}
        for extractor in measurement.references.extractors:
            features = None if images is None else measurement.features(extractor, images)
            row |= self._measure_with(extractor, measurement, features)
        return row

    def _measure_with(self, extractor: Extractor, measurement: Measurement, features: FloatArray | None) -> Row:
        """Compute the columns of one extractor."""
        references, split = measurement.references, measurement.split
        results = self._compare(references, extractor, split, features)
        floor = references.cached(
            ("floor", self.name, extractor.name, split),
            lambda: self._compare(references, extractor, split, _other_features(references, extractor, split)),
        )
        row = {name: results.get(name, math.nan) for name in (*self.values, *self.errors)}
        row |= {f"{value}_floor": floor.get(value, math.nan) for value in self.values}
        return {f"{name}_{extractor.name}": value for name, value in row.items()}

    def _compare(self, references: References, extractor: Extractor, split: str, features: FloatArray | None) -> Row:
        """Compare features with those of the held-out images; without features there are no results."""
        if features is None:
            return {}
        generator = references.generator(f"{self.name}-{split}")
        return self.compute(FeatureSets(features, references, extractor, split, generator))


def _other_features(references: References, extractor: Extractor, split: str) -> FloatArray | None:
    """Return features of as many images of the other split as a model draws; None if there are fewer."""
    rows = references.floor_rows(split)
    return None if rows is None else references.features(extractor, OTHER[split])[rows.cpu().numpy()]
