"""Feature Likelihood Divergence (Jiralerspong et al. 2023, arXiv 2302.04440): fidelity, diversity and novelty at once.

An isotropic normal with a variance of its own stands on the features of each sample. The variances are fitted to
training images, and the mixture is judged by its likelihood of held-out images. Samples far from the data give
little; missing modes leave images without a near sample; a copy of a training image gets a variance of nearly 0, and
is worth nothing on held-out images. The value is in hundredths of a nat a feature above that of a half of the
training images in place of the samples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nllgen.metrics.feature_metrics import FeatureMetrics, FeatureSets
from nllgen.metrics.measurement import Row

NUM_TRAINING = 2_000  # training images that the variances are fitted to, drawn
ITERATIONS = 30
_MIN_LOG_VARIANCE = -40.0
_SMALL = 1e-12


class SampleMixture:
    """A mixture of isotropic normals of equal weight on samples (n, d), float64.

    Args:
        samples: the means.
        fitted_to: images (m, d) whose likelihood the variances maximise, by the EM algorithm from each sample's
            distance to its nearest image.
        iterations: of EM.
    """

    def __init__(self, samples: Tensor, fitted_to: Tensor, iterations: int = ITERATIONS):
        self._means = samples
        squares = self._squares(fitted_to)
        self._log_variances = self._bounded(squares.min(0).values)
        for _ in range(iterations):
            joint = self._log_terms(squares)
            log_weights = joint - joint.logsumexp(1, keepdim=True)  # of each sample, given an image
            share = log_weights.softmax(0)  # of each image in a sample's variance
            self._log_variances = self._bounded((share * squares).sum(0))

    def log_density(self, x: Tensor) -> Tensor:
        """Compute the log-density of rows (m, d) → (m,), nats."""
        return self._log_terms(self._squares(x)).logsumexp(1)

    def _squares(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self._means, compute_mode="donot_use_mm_for_euclid_dist").square()

    def _bounded(self, squares: Tensor) -> Tensor:
        return (squares / self._means.shape[1] + _SMALL).log().clamp(min=_MIN_LOG_VARIANCE)

    def _log_terms(self, squares: Tensor) -> Tensor:
        num, dim = self._means.shape
        terms = -0.5 * squares / self._log_variances.exp() - 0.5 * dim * (self._log_variances + math.log(2 * math.pi))
        return terms - math.log(num)


def fld(samples: Tensor, training: Tensor, held_out: Tensor) -> tuple[float, float]:
    """Compute FLD and the generalisation gap of samples (n, d), training (t, d) and held-out images (m, d), float64.

    Rows are in random order. The gap is the likelihood of the training images minus that of the held-out ones, in
    the same unit: above 0 where samples are nearer to the images that the model was trained on.

    Returns:
        FLD and the gap; NaN with fewer than four training images or no samples.
    """
    if len(training) < 4 or not len(samples) or not len(held_out):
        return math.nan, math.nan
    mean, scale = held_out.mean(0), held_out.std(0, correction=0).clamp(min=_SMALL)
    samples, training, held_out = ((part - mean) / scale for part in (samples, training, held_out))
    half = min(len(samples), len(training) // 2)
    of_samples = SampleMixture(samples, training)
    of_training = SampleMixture(training[:half], training[half:])
    unit = 100 / samples.shape[1]
    seen, unseen, best = (
        float(mixture.log_density(rows).mean()) * unit
        for mixture, rows in ((of_samples, training), (of_samples, held_out), (of_training, held_out))
    )
    return best - unseen, seen - unseen


def _compute(features: FeatureSets) -> Row:
    training = features.shuffle(features.training)[:NUM_TRAINING]
    samples = features.shuffle(features.samples)[:NUM_TRAINING]
    held_out = features.shuffle(features.reference)[:NUM_TRAINING]
    value, gap = fld(*(features.to_tensor(rows) for rows in (samples, training, held_out)))
    return {"fld": value, "fld_gap": gap}


GROUP = FeatureMetrics("fld", ("fld", "fld_gap"), compute=_compute, needs=("training",)).group()
