"""Evaluation of a model by groups of metrics. It uses none of the training's random streams."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nllgen.metrics.exact import draw
from nllgen.metrics.features import Extractor
from nllgen.metrics.frechet import frechet_from_features
from nllgen.metrics.measurement import Measurement, References, Row
from nllgen.metrics.play import Opponent, measure_game
from nllgen.metrics.registry import GROUPS
from nllgen.models import Model

NUM_CHOICE = 1_000  # draws for the choice of the best weights


@dataclass(frozen=True)
class Evaluator:
    """Evaluation of models on fixed images with fixed latents.

    Attributes:
        references: the images, the truth, the extractors.
        every: groups of every evaluation, on the validation split.
        final: groups of the final evaluation, on the test split.
        chooser: extractor of the distance that chooses the best weights of a game; None where there is none.
    """

    references: References
    every: tuple[str, ...]
    final: tuple[str, ...]
    chooser: Extractor | None = None

    def measure(self, model: Model, opponent: Opponent | None = None) -> Row:
        """Compute the columns of an evaluation; NaN where a metric is undefined.

        ``opponent`` is the discriminator that the model is trained against.
        """
        measurement = Measurement(self.references, model, "val")
        row = _measure(measurement, self.every)
        return row if opponent is None else row | measure_game(measurement, opponent)

    def choice(self, model: Model) -> Row:
        """Compute the distance that chooses the best weights; it does not depend on the metrics of the study.

        Its number of draws is fixed, so that a run keeps the same weights whatever is measured beside it.
        """
        if self.chooser is None:
            return {}
        num = min(NUM_CHOICE, len(self.references.sets["val"].x))
        images = self.references.to_pixels(draw(model, num, self.references.generator("choice")))
        if not images.isfinite().all():
            return {"frechet_choice": math.nan}
        features = self.chooser.features(images)
        return {"frechet_choice": frechet_from_features(features, self.references.features(self.chooser, "val"))}

    def measure_final(self, model: Model) -> Row:
        """Compute the columns of the final metrics."""
        return self.measure_groups(model, self.final)

    def measure_groups(self, model: Model, names: Iterable[str]) -> Row:
        """Compute the columns of some groups on the test split, except groups whose needs are not met."""
        return _measure(Measurement(self.references, model, "test"), names)


def _measure(measurement: Measurement, names: Iterable[str]) -> Row:
    row: Row = {}
    with np.errstate(invalid="ignore", over="ignore"):  # a diverged model gives inf and NaN, which are results
        for group in map(GROUPS.__getitem__, names):
            if all(measurement.has(need) for need in group.needs):
                row |= group.measure(measurement)
    return row
