"""Fidelity and diversity by nearest neighbours: precision and recall (Kynkäänniemi et al. 2019), density and coverage
(Naeem et al. 2020).

A set of features stands for its support: the balls around each of its points that reach to the k-th nearest other one.
Both sides have the same number of points: only then is the coverage of equal distributions 1 − 2⁻ᵏ.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nllgen.metrics.distances import blocks, kth_neighbour
from nllgen.metrics.measurement import Row
from nllgen.metrics.metric_group import Features, image_group

K = 5


class PRDC(NamedTuple):
    """Four numbers about samples and true images."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(samples: Tensor, reference: Tensor, k: int = K) -> PRDC:
    """All four from one pass over the distances of samples to true images.

    - precision: share of samples within some true image's ball (Kynkäänniemi et al. 2019, eqs. 1 and 2);
    - recall: share of true images within some sample's ball;
    - density: mean number of true images' balls that a sample lies in, over k (Naeem et al. 2020, eq. 6);
    - coverage: share of true images whose ball has a sample in it (eq. 8).

    Args:
        samples, reference: (n, d) and (m, d) float64 features on one device, more than k of each.
        k: neighbours.
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


def _compare(features: Features) -> Row:
    reference = features.shuffled(features.reference)
    num = min(len(features.samples), len(reference))
    if num <= K:
        return {}
    found = prdc(features.tensor(features.samples[:num]), features.tensor(reference[:num]))
    return {"precision": found.precision, "recall": found.recall, "density": found.density, "coverage": found.coverage}


GROUP = image_group("prdc", ("precision", "recall", "density", "coverage"), (), _compare)
