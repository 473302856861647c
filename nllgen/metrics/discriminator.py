"""Distance of a discriminator from the optimal one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nllgen.metrics.exact import BATCH, FloatArray
from nllgen.metrics.measurement import Measurement, Row


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
    return np.concatenate([logit(part).double().cpu().numpy() for part in torch.split(x, BATCH)])
