"""Numerical errors of a model, on a few held-out images."""

from __future__ import annotations

from nllgen.metrics.measurement import Measurement, Row
from nllgen.metrics.metric_group import MetricGroup
from nllgen.models import RealNVP
from nllgen.models.numerics import numerical_errors

_NUM_IMAGES = 16


def _measure(m: Measurement) -> Row:
    if not isinstance(m.model, RealNVP):  # other densities need not have an inverse
        return {}
    density, inverse = numerical_errors(m.model, m.held_out.x[:_NUM_IMAGES])
    return {"fp_error_nats": density, "inverse_error": inverse}


GROUP = MetricGroup("numerics", ("fp_error_nats", "inverse_error"), frozenset({"density"}), _measure)
