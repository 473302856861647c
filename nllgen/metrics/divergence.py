"""Divergences between the truth and a model whose densities are both known (science.md, *Measures*)."""

from __future__ import annotations

import math

from nllgen.metrics.exact import jsd, mean_and_se
from nllgen.metrics.measurement import Measurement, Row
from nllgen.metrics.metric_group import MetricGroup


def kl_reference(num_parameters: int, num_images: int | None) -> float:
    """Return the expected KL(p‖q) of a well-specified maximum-likelihood fit of k parameters to N images: k/(2N) nats.

    It is asymptotic, from Wilks' theorem (Wilks 1938; Akaike 1974): 2N·KL → χ²_k, and holds only where N ≫ k. NaN where
    every image is new, so that there is no N.
    """
    if not num_images:
        return math.nan
    return num_parameters / (2 * num_images)


def _measure(m: Measurement) -> Row:
    forward, reverse = mean_and_se(m.r_held_out), mean_and_se(-m.r_samples)
    between = jsd(m.r_held_out, m.r_samples)
    training = m.references.training
    return {
        "kl_nats": forward.value,
        "kl_se_nats": forward.se,
        "reverse_kl_nats": reverse.value,
        "reverse_kl_se_nats": reverse.se,
        "jsd_nats": between.value,
        "jsd_se_nats": between.se,
        "kl_reference_nats": kl_reference(m.model.num_parameters, None if training is None else len(training)),
    }


GROUP = MetricGroup(
    "divergence",
    (
        "kl_nats",
        "kl_se_nats",
        "reverse_kl_nats",
        "reverse_kl_se_nats",
        "jsd_nats",
        "jsd_se_nats",
        "kl_reference_nats",
    ),
    frozenset({"density", "truth"}),
    _measure,
)
