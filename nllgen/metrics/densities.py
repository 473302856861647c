"""Metrics of a model's density: likelihood, divergence from a truth, numerical errors (science.md, *Measures*)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor

from nllgen.metrics.batches import in_batches
from nllgen.metrics.exact import BATCH, FloatArray, bits_per_dim, jsd, mean_and_se, to_array
from nllgen.metrics.measurement import Measurement, Row
from nllgen.metrics.metric_group import MetricGroup
from nllgen.models.realnvp import RealNVP, numerical_errors

_NUM_IMAGES = 16  # held-out images on which numerical errors are measured


def _measure_likelihood(m: Measurement) -> Row:
    nll = -float(m.log_q.mean())
    row = {"train_nll_nats": -float(m.log_q_train.mean()), f"{m.split}_nll_nats": nll}
    if m.held_out.log_det is not None:
        num_dims = math.prod(m.held_out.x.shape[1:])
        row[f"{m.split}_bits_per_dim"] = bits_per_dim(nll, float(m.held_out.log_det.mean()), num_dims)
    log_p_train = m.references.sets["train"].log_p
    if log_p_train is not None:
        row["overfit_nats"] = float((m.log_q_train - log_p_train).mean())
    return row


def kl_reference(num_parameters: int, num_images: int | None) -> float:
    """Return the expected KL(p‖q) of a well-specified maximum-likelihood fit of k parameters to N images: k/(2N) nats.

    It is asymptotic, from Wilks' theorem (Wilks 1938; Akaike 1974): 2N·KL → χ²_k, and holds only where N ≫ k. NaN where
    every image is new, so that there is no N.
    """
    if not num_images:
        return math.nan
    return num_parameters / (2 * num_images)


def _measure_divergence(m: Measurement) -> Row:
    estimates = {
        "kl": mean_and_se(m.r_held_out),
        "reverse_kl": mean_and_se(-m.r_samples),
        "jsd": jsd(m.r_held_out, m.r_samples),
    }
    row: Row = {}
    for name, estimate in estimates.items():
        row |= {f"{name}_nats": estimate.value, f"{name}_se_nats": estimate.se}
    training = m.references.training
    num_images = None if training is None else len(training)
    return row | {"kl_reference_nats": kl_reference(m.model.num_parameters, num_images)}


def _measure_numerics(m: Measurement) -> Row:
    if not isinstance(m.model, RealNVP):  # other densities need not have an inverse
        return {}
    density, inverse = numerical_errors(m.model, m.held_out.x[:_NUM_IMAGES])
    return {"fp_error_nats": density, "inverse_error": inverse}


def distance_to_optimum(m: Measurement, logit: Callable[[Tensor], Tensor]) -> Row:
    """Compute ‖d − r‖, the root mean square under ½(p + q), nats.

    The optimal discriminator is D = p/(p + q) (Goodfellow et al. 2014, proposition 1), whose logit is
    r = log p − log q. ``logit`` maps held-out images, draws of p, and the model's samples, draws of q, to d (N,).
    """
    with np.errstate(invalid="ignore", over="ignore"):  # of a diverged model
        at_p = np.square(_discriminate(logit, m.held_out.x) - m.r_held_out).mean()
        at_q = np.square(_discriminate(logit, m.samples) - m.r_samples).mean()
        return {"d_minus_r_nats": float(np.sqrt(0.5 * (at_p + at_q)))}


def _discriminate(logit: Callable[[Tensor], Tensor], x: Tensor) -> FloatArray:
    return to_array(in_batches(logit, x, batch=BATCH))


# always measured, because validation selects the best weights
LIKELIHOOD = MetricGroup(
    "likelihood",
    ("train_nll_nats", "val_nll_nats", "val_bits_per_dim", "overfit_nats"),
    frozenset({"density"}),
    _measure_likelihood,
)
DIVERGENCE = MetricGroup(
    "divergence",
    (*(f"{name}{se}_nats" for name in ("kl", "reverse_kl", "jsd") for se in ("", "_se")), "kl_reference_nats"),
    frozenset({"density", "truth"}),
    _measure_divergence,
)
NUMERICS = MetricGroup("numerics", ("fp_error_nats", "inverse_error"), frozenset({"density"}), _measure_numerics)
