"""Negative log-likelihoods. They are always measured, because validation selects the best weights."""

from __future__ import annotations

import math

from nllgen.metrics.exact import bits_per_dim
from nllgen.metrics.measurement import Measurement, Row
from nllgen.metrics.metric_group import MetricGroup


def _measure(m: Measurement) -> Row:
    nll = -float(m.log_q.mean())
    row = {"train_nll_nats": -float(m.log_q_train.mean()), f"{m.split}_nll_nats": nll}
    if m.held_out.log_det is not None:
        num_dims = math.prod(m.held_out.x.shape[1:])
        row[f"{m.split}_bits_per_dim"] = bits_per_dim(nll, float(m.held_out.log_det.mean()), num_dims)
    train = m.references.sets["train"]
    if train.log_p is not None:
        row["overfit_nats"] = float((m.log_q_train - train.log_p).mean())
    return row


GROUP = MetricGroup(
    "likelihood",
    ("train_nll_nats", "val_nll_nats", "val_bits_per_dim", "overfit_nats"),
    frozenset({"density"}),
    _measure,
)
