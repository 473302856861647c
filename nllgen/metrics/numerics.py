"""How exact the model's own arithmetic is, on a few held-out images."""

from __future__ import annotations

from nllgen.flow import RealNVP
from nllgen.flow.numerics import numerical_errors
from nllgen.metrics.group import Group
from nllgen.metrics.measurement import Measurement, Row

_CHECKED = 16  # images


def _measure(m: Measurement) -> Row:
    if not isinstance(m.model, RealNVP):  # another density says nothing of its inverse
        return {}
    density, inverse = numerical_errors(m.model, m.held_out.x[:_CHECKED])
    return {"fp_error_nats": density, "inverse_error": inverse}


GROUP = Group("numerics", ("fp_error_nats", "inverse_error"), frozenset({"density"}), _measure)
