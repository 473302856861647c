"""Evaluation of a model by groups of metrics. It uses none of the training's random streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nllgen.metrics.densities import distance_to_optimum
from nllgen.metrics.measurement import Measurement, References, Row
from nllgen.metrics.registry import GROUPS
from nllgen.models import Model


@dataclass(frozen=True)
class Evaluator:
    """Evaluation of models on fixed images with fixed latents.

    Attributes:
        references: the images, the truth, the extractors.
        every: groups of every evaluation, on the validation split.
        final: groups of the final evaluation, on the test split.
    """

    references: References
    every: tuple[str, ...]
    final: tuple[str, ...]

    def measure(self, model: Model, logit: Callable[[Tensor], Tensor] | None = None) -> Row:
        """Compute the columns of an evaluation; NaN where a metric is undefined.

        ``logit`` is the discriminator that the model is trained against; it maps logits (N, C, H, W) → d (N,).
        """
        measurement = Measurement(self.references, model, "val")
        row = _measure(measurement, self.every)
        if logit is not None and measurement.has("density") and measurement.has("truth"):
            row |= distance_to_optimum(measurement, logit)
        return row

    def measure_final(self, model: Model) -> Row:
        """Compute the columns of the final metrics."""
        return self.measure_groups(model, "test", self.final)

    def measure_groups(self, model: Model, split: str, names: Iterable[str]) -> Row:
        """Compute the columns of some groups on a split, except groups whose needs are not met."""
        return _measure(Measurement(self.references, model, split), names)


def _measure(measurement: Measurement, names: Iterable[str]) -> Row:
    row: Row = {}
    with np.errstate(invalid="ignore", over="ignore"):  # a diverged model gives inf and NaN, which are results
        for group in map(GROUPS.__getitem__, names):
            if all(measurement.has(need) for need in group.needs):
                row |= group.measure(measurement)
    return row
