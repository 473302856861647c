"""Evaluation of a model by groups of metrics. It uses none of the training's random streams."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nllgen.metrics.measurement import Measurement, References, Row
from nllgen.metrics.play import Opponent, measure_game
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

    def measure(self, model: Model, opponent: Opponent | None = None) -> Row:
        """Compute the columns of an evaluation; NaN where a metric is undefined.

        ``opponent`` is the discriminator that the model is trained against.
        """
        measurement = Measurement(self.references, model, "val")
        row = _measure(measurement, self.every)
        return row if opponent is None else row | measure_game(measurement, opponent)

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
