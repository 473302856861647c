"""Warnings of log-densities that cannot be those of a normalised density, or are likely in another form than asked."""

from __future__ import annotations

import math

import numpy as np

from nllgen.metrics.exact import Estimate, FloatArray, kl

_IMPOSSIBLE_SE = 5  # standard errors below 0 at which a KL is no estimate of a divergence
_BITS_SHARE = 0.05  # of a KL that is left where log-densities in bits are taken as such
_UNCORRELATED_SE = 3  # standard errors of a correlation of 0


def density_warning(log_p: FloatArray, log_q: FloatArray, divergence: Estimate) -> str:
    """Return a warning of a model's log-densities; empty where nothing is conspicuous.

    Args:
        log_p: of the truth at its images (N,), nats.
        log_q: of the model, −inf where it has no density.
        divergence: the KL that they give.
    """
    if (log_q == log_q[0]).all() and np.isfinite(log_q[0]):
        return "every log-density is the same: a constant is no density in logit space"
    if divergence.value < 0 and not divergence.value > -_IMPOSSIBLE_SE * divergence.se:
        return (
            f"a KL below 0 by more than {_IMPOSSIBLE_SE} standard errors: no normalised density in these "
            "coordinates (sign? nats or bits? logit space or pixels?), or one that was fitted to these very images"
        )
    return _form_warning(log_p, log_q, divergence) if math.isfinite(divergence.se) else ""


def _form_warning(log_p: FloatArray, log_q: FloatArray, divergence: Estimate) -> str:
    """Return a warning where finite log-densities are possible, and likely in bits or in another order."""
    in_bits = kl(log_p, log_q * math.log(2))
    if abs(in_bits.value) < _BITS_SHARE * divergence.value and in_bits.se < divergence.se / 2:
        return f"in bits, these log-densities give a KL of {in_bits.value:.4g} nats: multiply by ln 2 if they are bits"
    if np.std(log_p) > 0 and np.corrcoef(log_p, log_q)[0, 1] < _UNCORRELATED_SE / math.sqrt(len(log_p)):
        return "no correlation with the truth's log-densities: are the rows in the order of dataset.h5?"
    return ""
