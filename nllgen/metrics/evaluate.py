"""All that is measured of a model at one moment. Takes nothing from the training's random streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nllgen.metrics.discriminator import distance_to_optimum
from nllgen.metrics.measurement import Measurement, References, Row
from nllgen.metrics.registry import GROUPS
from nllgen.models import Model


@dataclass(frozen=True)
class Evaluator:
    """Measures models on fixed images with fixed latents.

    Attributes:
        references: the images, the truth, the extractors.
        every: groups at every evaluation, on validation.
        final: groups at the end, on the test split.
    """

    references: References
    every: tuple[str, ...]
    final: tuple[str, ...]

    def measure(self, model: Model, logit: Callable[[Tensor], Tensor] | None = None) -> Row:
        """The columns of an evaluation; NaN is a metric that could not be had.

        Args:
            model: what is trained.
            logit: the discriminator that it is trained against, logits (N, C, H, W) → d (N,).
        """
        measurement = Measurement(self.references, model, "val")
        row = _measured(measurement, self.every)
        if logit is not None and measurement.has("density") and measurement.has("truth"):
            row |= distance_to_optimum(measurement, logit)
        return row

    def measure_final(self, model: Model) -> Row:
        """The columns of the final metrics."""
        return self.measure_groups(model, "test", self.final)

    def measure_groups(self, model: Model, split: str, names: Iterable[str]) -> Row:
        """The columns of some groups on a split; those of a group whose needs are not met are absent."""
        return _measured(Measurement(self.references, model, split), names)


def _measured(measurement: Measurement, names: Iterable[str]) -> Row:
    row: Row = {}
    with np.errstate(invalid="ignore", over="ignore"):  # a diverged model's numbers are inf and NaN, and stay so
        for group in map(GROUPS.__getitem__, names):
            if all(measurement.has(need) for need in group.needs):
                row |= group.measure(measurement)
    return row
