"""The state of a game at an evaluation: whether the generator still gets a gradient, and what its samples look like.

A generator can be dead while its loss looks alive: the map from logits to pixels is flat at black and at white.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nllgen.metrics.densities import distance_to_optimum
from nllgen.metrics.measurement import Measurement, Row

DEAD_GRADIENT = 1e-6  # norm of a gradient; one of a living game is 10⁻³ and more


@dataclass(frozen=True)
class Opponent:
    """A discriminator, as the evaluation of its generator needs it.

    Attributes:
        gradient_norm: maps real images (N, C, H, W) and a random stream to the norm of the generator's gradient.
        batch_size: images that the gradient is taken over.
        max_logit: largest |logit| that data can have.
        logit: maps logits (N, C, H, W) → d (N,); None where d is determined only up to a constant or a scale.
    """

    gradient_norm: Callable[[Tensor, torch.Generator], float]
    batch_size: int
    max_logit: float
    logit: Callable[[Tensor], Tensor] | None = None


def measure_game(measurement: Measurement, opponent: Opponent) -> Row:
    """Compute the columns of the game between a model and its discriminator."""
    references, images = measurement.references, measurement.held_out.x
    stream = references.generator("gradient")
    rows = torch.randperm(len(images), generator=stream, device=stream.device)[: opponent.batch_size]
    row = {
        "gen_grad_norm": opponent.gradient_norm(images[rows], stream),
        "saturated_share": float((measurement.samples.abs() > opponent.max_logit).double().mean()),
    }
    if opponent.logit is not None and measurement.has("density") and measurement.has("truth"):
        row |= distance_to_optimum(measurement, opponent.logit)
    return row


def dead_step(evaluations: Iterable[Mapping[str, float]]) -> float:
    """Return the step of the evaluation since which the generator's gradient has been dead; NaN where it lives.

    Dead is a norm below ``DEAD_GRADIENT``, or none that is finite. Evaluations without the column do not count, nor
    does the start, where a discriminator that is 0 everywhere gives no gradient.
    """
    since = math.nan
    for row in evaluations:
        if "gen_grad_norm" not in row or not row["step"]:
            continue
        is_alive = row["gen_grad_norm"] >= DEAD_GRADIENT  # False for NaN
        since = math.nan if is_alive else row["step"] if math.isnan(since) else since
    return since
