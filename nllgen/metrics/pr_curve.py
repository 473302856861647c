"""Precision–recall curves of generative models: every trade-off between fidelity and diversity, not the ends alone.

Of all ways to write P = β μ + (1 − β) ν_P and Q = α μ + (1 − α) ν_Q with a common part μ, the curve has the largest
pairs of precision α and recall β (Sajjadi et al. 2018). With λ = α / β, α(λ) is the minimum over sets A of
λ P(Aᶜ) + Q(A), the weighted errors of a classifier (Simon et al. 2019). Here the sets are those of a nearest-neighbour
classifier of one half of the images, and its errors are counted on the other half (Sykes et al. 2024, arXiv
2405.01611). A classifier that is not the best one makes the curve too high, the same for the floor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nllgen.metrics.distances import blocks
from nllgen.metrics.feature_metrics import FeatureMetrics, FeatureSets
from nllgen.metrics.measurement import Row
from nllgen.study.metric_groups import NUM_PR_POINTS

SLOPES = tuple(math.tan(math.pi / 2 * i / (NUM_PR_POINTS + 1)) for i in range(1, NUM_PR_POINTS + 1))  # λ = α / β
VALUES = tuple(f"pr_alpha_{i}" for i in range(1, NUM_PR_POINTS + 1))
_MIN_IMAGES = 20  # of each side: fewer have no neighbourhood


def precision_at_slopes(samples: Tensor, reference: Tensor) -> tuple[float, ...]:
    """Estimate α(λ) at each λ of ``SLOPES``; recall is β = α / λ.

    Samples (n, d) of Q and reference (n, d) of P are float64 features on one device, their rows in random order.
    """
    half = len(samples) // 2
    fitted = torch.cat((reference[:half], samples[:half]))
    k = max(1, round(math.sqrt(half)))
    true, generated = (_true_neighbours(part[half:], fitted, half, k) for part in (reference, samples))
    thresholds = torch.arange(k + 2, device=true.device)[:, None]  # A: at least so many true neighbours
    missed = (true < thresholds).double().mean(1)
    kept = (generated >= thresholds).double().mean(1)
    return tuple(float((slope * missed + kept).min()) for slope in SLOPES)


def _true_neighbours(points: Tensor, fitted: Tensor, num_true: int, k: int) -> Tensor:
    """Count the true images among the k nearest of ``fitted``, whose first ``num_true`` are true, for each point."""
    counts = [
        (block.topk(k, dim=1, largest=False, sorted=False).indices < num_true).sum(1)
        for _, block in blocks(points, fitted)
    ]
    return torch.cat(counts)


def _compute(features: FeatureSets) -> Row:
    samples, reference = features.shuffle(features.samples), features.shuffle(features.reference)
    num = min(len(samples), len(reference))
    if num < _MIN_IMAGES:
        return {}
    alphas = precision_at_slopes(features.to_tensor(samples[:num]), features.to_tensor(reference[:num]))
    return dict(zip(VALUES, alphas, strict=True))


GROUP = FeatureMetrics("pr_curve", VALUES, compute=_compute).group()
