"""The cost of measuring a model once, beside the passes of the model itself, by groups of metrics."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

OF_DENSITIES = frozenset({"divergence", "pareto"})
OF_IMAGES = frozenset({"frechet", "frechet_inf", "kid", "prdc", "memorisation", "fld", "pr_curve", "resampling"})

_OF_TRAINING = frozenset({"memorisation", "fld"})  # groups that look at training images
K_MEANS_S = 3e-5  # of the copying test's partition, for each training image


@dataclass(frozen=True)
class ExtractorCost:
    """Seconds of one core with an extractor's features (benchmarks/results/metrics.md has LeNet's).

    Attributes:
        image: of an image's features, of an image of ``num_pixels``.
        pair: of a distance between two images, or of a kernel.
        frechet: of one Fréchet distance.
        frechet_inf: of the fits of Fréchet∞.
        num_pixels: None where images of all sizes are enlarged to one.
    """

    image: float
    pair: float
    frechet: float
    frechet_inf: float
    num_pixels: int | None = None

    def features(self, num_images: int, num_pixels: int) -> float:
        """Return the seconds of the features of images."""
        return num_images * self.image * (num_pixels / self.num_pixels if self.num_pixels else 1.0)


COSTS = {
    "lenet": ExtractorCost(image=1.2e-4, pair=12e-9, frechet=0.1, frechet_inf=0.5, num_pixels=784),
    "inception": ExtractorCost(image=0.1, pair=150e-9, frechet=3.0, frechet_inf=200.0),
}


def image_metric_seconds(
    groups: Collection[str], extractors: Collection[str], n: int, num_train: int, num_held_out: int, num_pixels: int
) -> float:
    """Return the seconds on one core of the metrics of ``n`` images of one model.

    The samples are compared with ``num_held_out`` true images, and for memorisation with ``num_train`` training images,
    which are 0 where each is fresh.
    """
    asked, seconds = OF_IMAGES & set(groups), 0.0
    for cost in [COSTS[name] for name in extractors] if asked else ():
        equal = min(n, num_held_out)
        kid = (n**2 + num_held_out**2 + n * num_held_out) / 10  # in ten blocks
        pairs = {"kid": kid, "prdc": 3 * equal**2, "pr_curve": equal**2, "memorisation": n * num_train}
        halves = 2 * ("resampling" in asked)  # sets of as many images more
        seconds += (
            cost.features((1 + halves) * n, num_pixels)
            + halves * cost.frechet
            + cost.pair * sum(pairs.get(group, 0) for group in asked)
        )
        seconds += _fld_seconds(n, num_train) * ("fld" in asked)
        seconds += cost.frechet * ("frechet" in asked) + cost.frechet_inf * ("frechet_inf" in asked)
    return seconds


def once_seconds(
    groups: Collection[str], extractors: Collection[str], n: int, num_train: int, num_held_out: int, num_pixels: int
) -> float:
    """Return the seconds on one core of what is computed for the first model of a run on a split.

    That is the features of true images, the floor of each metric, and the partition of the copying test.
    """
    asked = OF_IMAGES & set(groups)
    seconds = image_metric_seconds(asked - {"memorisation"}, extractors, n, num_train, num_held_out, num_pixels)
    for cost in [COSTS[name] for name in extractors] if asked else ():
        seconds += cost.features(num_held_out + num_train * bool(asked & _OF_TRAINING), num_pixels)
        if "memorisation" in asked:
            seconds += num_train * (num_held_out * cost.pair + K_MEANS_S)
    return seconds


def _fld_seconds(n: int, num_train: int) -> float:
    """Return the seconds of fitting both mixtures: 30 iterations over at most 2,000 images of each set."""
    samples, training = min(n, 2_000), min(num_train, 2_000)
    return 30 * 1.2e-8 * (samples * training + training**2 / 4)


def critic_seconds(groups: Collection[str], num_pixels: int) -> float:
    """Return the seconds on one core of training and applying an independent critic to images of so many pixels."""
    return 0.5 + 2.7e-3 * num_pixels if "critic" in groups else 0.0
