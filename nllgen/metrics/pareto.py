"""Tail weight of importance weights: Pareto-k̂ (Vehtari, Simpson, Gelman, Yao & Gabry 2024, PSIS).

For weights p/q at draws of q, moments of the weights exist up to order 1/k. Below k = 0.7, estimates of E_p by
importance sampling from q are usable at practical sample sizes; above 1, a sample does not show the mean of the
weights. So k̂ measures whether q covers p, which KL alone does not. Everything is computed from log-weights, because
these range over hundreds of nats and their exponentials would underflow and overflow.
"""

from __future__ import annotations

import math

import numpy as np

from nllgen.metrics.exact import FloatArray
from nllgen.metrics.measurement import Measurement, Row
from nllgen.metrics.metric_group import MetricGroup

_MIN_TAIL = 5  # weights in the tail that PSIS needs for a fit
_PRIOR_MEAN, _PRIOR_WEIGHT = 0.5, 10  # of k; the weight is a number of observations (Vehtari et al. 2024, appendix G)


def pareto_k(log_weights: FloatArray) -> float:
    """Fit the shape k̂ of a generalised Pareto distribution to the largest importance weights.

    The tail consists of the M = min(S/5, 3√S) largest of S weights, and its cutoff is the next smaller weight (Vehtari
    et al. 2024, §2.4). A weak prior shrinks the k̂ of small tails towards 0.5 (appendix G). ``log_weights`` (S,) are
    known up to a constant. k̂ is 0 if they are all equal, and NaN for fewer than 25 or values that are not finite.
    """
    num = len(log_weights)
    size = min(num // 5, math.ceil(3 * math.sqrt(num)))
    if size < _MIN_TAIL or not np.isfinite(log_weights).all():
        return math.nan
    tail = np.sort(log_weights)[-size - 1 :]
    cutoff, largest = tail[0], tail[1:]
    with np.errstate(divide="ignore"):
        log_excess = largest + np.log(-np.expm1(cutoff - largest))  # log(exp(largest) − exp(cutoff))
    if not np.isfinite(log_excess[_quartile(size)]):
        return 0.0  # ties: at least a quarter of the tail equals the cutoff
    k = gpd_shape(log_excess)
    return (size * k + _PRIOR_WEIGHT * _PRIOR_MEAN) / (size + _PRIOR_WEIGHT)


def gpd_shape(log_x: FloatArray) -> float:
    """Estimate the shape ξ of a generalised Pareto distribution from a sample (Zhang & Stephens 2009; their k is −ξ).

    The posterior mean of θ = −ξ/σ is computed under their data-driven prior, on their grid (eqs. 5 to 8); ξ follows
    from θ. ``log_x`` (n,) are the sample's logarithms, ascending; x has location 0.
    """
    n = len(log_x)
    log_x = log_x - log_x[_quartile(n)]  # the shape does not depend on the scale: set the lower quartile to 1
    m = 30 + math.isqrt(n)
    theta = math.exp(-log_x[-1]) + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / 3
    shapes = np.array([_shape_at(float(t), log_x) for t in theta])
    log_likelihood = n * (np.log(-theta / shapes) - shapes - 1)  # ξ has the sign of −θ
    weights = np.exp(log_likelihood - log_likelihood.max())
    return _shape_at(float(theta @ weights / weights.sum()), log_x)


def _quartile(n: int) -> int:
    return math.floor(n / 4 + 0.5) - 1


def _shape_at(theta: float, log_x: FloatArray) -> float:
    """Compute ξ(θ) = mean log(1 − θx), which maximises the likelihood at a given θ."""
    if theta < 0:
        return float(np.logaddexp(0, math.log(-theta) + log_x).mean())
    return float(np.log1p(-theta * np.exp(log_x)).mean())  # no overflow, as θ < 1/max x


def _measure(m: Measurement) -> Row:
    return {"pareto_k": pareto_k(m.r_samples), "reverse_pareto_k": pareto_k(-m.r_held_out)}


GROUP = MetricGroup("pareto", ("pareto_k", "reverse_pareto_k"), frozenset({"density", "truth"}), _measure)
