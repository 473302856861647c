"""Fréchet∞ (Chong & Forsyth 2020): the Fréchet distance extrapolated to infinitely many samples.

To first order the distance of n samples is biased by b/n, with another b for each model, so that a ranking at finite n
may be wrong. A straight line over 1/n meets the axis where n = ∞. The reference stays as it is: its own bias remains,
the same for every model, and is what the floor shows.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nllgen.metrics.exact import Estimate, FloatArray
from nllgen.metrics.frechet import FrechetTo, distance_to_reference
from nllgen.metrics.measurement import Row
from nllgen.metrics.metric_group import Features, image_group

PARTS = (1, 2, 3, 4, 5)  # the distances are those of n, n/2 … n/5 samples: evenly spaced in 1/n
NUM_LEFT_OUT = 10  # groups of the jackknife
_MIN_SAMPLES = 100


def frechet_infinity(samples: FloatArray, to_reference: FrechetTo) -> Estimate:
    """Intercept of the least-squares line through the distances at several n, with its standard error.

    At n/p, the distance is the mean over the p disjoint parts of the samples: every sample counts once at every n.
    Those distances share their samples, so that the residuals of the line say nothing of its error; that is the
    delete-a-group jackknife's, over ten groups.

    Args:
        samples: (n, d) features in random order.
        to_reference: the distance to the reference.

    Returns:
        NaN with fewer than 100 samples. It may be negative.
    """
    if len(samples) < _MIN_SAMPLES:
        return Estimate(math.nan, math.nan)
    shifted, projected = to_reference.project(samples)

    def intercept(rows: Tensor) -> float:
        sets = (torch.tensor_split(rows, parts) for parts in PARTS)
        distances = [np.mean([to_reference.distance(shifted[i], projected[i]) for i in each]) for each in sets]
        return float(np.polynomial.polynomial.polyfit(np.array(PARTS) / len(rows), distances, 1)[0])

    everything = torch.arange(len(samples))
    groups = torch.tensor_split(everything, NUM_LEFT_OUT)
    without = np.array([intercept(everything[~torch.isin(everything, group)]) for group in groups])
    variance = (NUM_LEFT_OUT - 1) / NUM_LEFT_OUT * float(np.square(without - without.mean()).sum())
    return Estimate(intercept(everything), math.sqrt(variance))


def _compare(features: Features) -> Row:
    found = frechet_infinity(features.shuffled(features.samples), distance_to_reference(features))
    return {"frechet_inf": found.value, "frechet_inf_se": found.se}


GROUP = image_group("frechet_inf", ("frechet_inf",), ("frechet_inf_se",), _compare)
