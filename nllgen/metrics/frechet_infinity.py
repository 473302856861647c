"""Fréchet∞ (Chong & Forsyth 2020): the Fréchet distance extrapolated to infinitely many samples.

To first order the distance of n samples has the bias b/n, where b depends on the model, so that a ranking at finite n
may be wrong. The intercept of a straight line over 1/n is the distance at n = ∞. The reference set is not extrapolated:
its bias is the same for every model, and the floor shows it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nllgen.metrics.exact import Estimate, FloatArray
from nllgen.metrics.feature_metrics import FeatureMetrics, FeatureSets
from nllgen.metrics.frechet import FrechetTo, distance_to_reference
from nllgen.metrics.measurement import Row

PARTS = (1, 2, 3, 4, 5)  # distances of n, n/2 … n/5 samples: evenly spaced in 1/n
NUM_JACKKNIFE = 10  # groups
_MIN_SAMPLES = 100


def frechet_infinity(samples: FloatArray, to_reference: FrechetTo) -> Estimate:
    """Compute the intercept of the least-squares line through the distances at several n, with its standard error.

    The distance at n/p is the mean over p disjoint parts of the samples, so that every sample counts once at every n.
    These distances share their samples, so the residuals of the line do not measure its error. A delete-a-group
    jackknife over ten groups does. Samples (n, d) are features in random order. The intercept may be negative, and is
    NaN with fewer than 100 samples.
    """
    if len(samples) < _MIN_SAMPLES:
        return Estimate(math.nan, math.nan)
    shifted, projected = to_reference.project(samples)

    def intercept(rows: Tensor) -> float:
        partitions = (torch.tensor_split(rows, parts) for parts in PARTS)
        distances = [np.mean([to_reference.distance(shifted[i], projected[i]) for i in sets]) for sets in partitions]
        return float(np.polynomial.polynomial.polyfit(np.array(PARTS) / len(rows), distances, 1)[0])

    rows = torch.arange(len(samples))
    groups = torch.tensor_split(rows, NUM_JACKKNIFE)
    replicates = np.array([intercept(rows[~torch.isin(rows, group)]) for group in groups])
    variance = (NUM_JACKKNIFE - 1) / NUM_JACKKNIFE * float(np.square(replicates - replicates.mean()).sum())
    return Estimate(intercept(rows), math.sqrt(variance))


def _compute(features: FeatureSets) -> Row:
    estimate = frechet_infinity(features.shuffle(features.samples), distance_to_reference(features))
    return {"frechet_inf": estimate.value, "frechet_inf_se": estimate.se}


GROUP = FeatureMetrics("frechet_inf", ("frechet_inf",), ("frechet_inf_se",), compute=_compute).group()
