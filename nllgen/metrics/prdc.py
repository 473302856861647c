"""Fidelity and diversity by nearest neighbours: precision, recall, density and coverage.

Precision and recall are from Kynkäänniemi et al. (2019), density and coverage from Naeem et al. (2020). The support of
a set of features is estimated by balls around its points that reach to the k-th nearest other point. Both sets have the
same number of points, which is a condition for the coverage of equal distributions to be 1 − 2⁻ᵏ.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nllgen.metrics.distances import blocks, kth_neighbour
from nllgen.metrics.feature_metrics import FeatureMetrics, FeatureSets
from nllgen.metrics.measurement import Row

K = 5


class PRDC(NamedTuple):
    """The four metrics."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(samples: Tensor, reference: Tensor, k: int = K) -> PRDC:
    """Compute all four metrics from one pass over the distances of samples to true images.

    - precision: fraction of samples within some true image's ball (Kynkäänniemi et al. 2019, eqs. 1 and 2);
    - recall: fraction of true images within some sample's ball;
    - density: mean number of true images' balls that contain a sample, divided by k (Naeem et al. 2020, eq. 6);
    - coverage: fraction of true images whose ball contains a sample (eq. 8).

    Samples (n, d) and reference (m, d) are float64 features on one device, more than k of each.
    """
    radii, sample_radii = kth_neighbour(reference, k), kth_neighbour(samples, k)
    precise, inside = 0, 0
    recalled = torch.zeros(len(reference), dtype=torch.bool, device=reference.device)
    covered = recalled.clone()
    for rows, block in blocks(samples, reference):
        within = block <= radii
        precise += int(within.any(1).sum())
        inside += int(within.sum())
        covered |= within.any(0)
        recalled |= (block <= sample_radii[rows, None]).any(0)
    n, m = len(samples), len(reference)
    return PRDC(precise / n, int(recalled.sum()) / m, inside / (k * n), int(covered.sum()) / m)


def _compute(features: FeatureSets) -> Row:
    samples, reference = features.samples, features.shuffle(features.reference)
    num = min(len(samples), len(reference))
    if num <= K:
        return {}
    if len(samples) > num:
        samples = features.shuffle(samples)
    return prdc(features.to_tensor(samples[:num]), features.to_tensor(reference[:num]))._asdict()


GROUP = FeatureMetrics("prdc", PRDC._fields, compute=_compute).group()
