"""Divergences between two known densities: means with standard errors, in nats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nllgen.metrics.batches import in_batches
from nllgen.models import DensityModel, Model, RealNVP
from nllgen.models.model import eval_mode

BATCH = 500  # images scored at a time; densities depend on it by about 3e-5 nats
FloatArray = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean and its standard error."""

    value: float
    se: float


def mean_and_se(values: FloatArray) -> Estimate:
    """Return the mean of independent values (N,) and its standard error s/√N, which is NaN for a single value."""
    n = len(values)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan)


def kl(log_p: FloatArray, log_q: FloatArray) -> Estimate:
    """Estimate KL(p‖q) = E_p[log p − log q] from both log-densities at the same draws of p (N,), nats."""
    return mean_and_se(log_p - log_q)


def jsd(r_at_p: FloatArray, r_at_q: FloatArray) -> Estimate:
    """Estimate the Jensen-Shannon divergence ln 2 − ½E_p softplus(−r) − ½E_q softplus(r) with r = log p − log q, nats.

    The draws of p (N,) and of q (M,) at which r is given are independent.
    """
    at_p, at_q = mean_and_se(np.logaddexp(0.0, -r_at_p)), mean_and_se(np.logaddexp(0.0, r_at_q))
    return Estimate(math.log(2) - 0.5 * (at_p.value + at_q.value), 0.5 * math.hypot(at_p.se, at_q.se))


def bits_per_dim(nll_nats: float, log_det: float, num_dims: int) -> float:
    """Compute −(log q(y) + log|dy/du|) / (D ln 2) of an image or a mean over images (science.md, *Definitions*).

    Args:
        nll_nats: −log q(y) of the logits, nats.
        log_det: log|dy/du| with u in 0…256, nats.
        num_dims: D = C·H·W.
    """
    return (nll_nats - log_det) / (num_dims * math.log(2))


@contextmanager
def measuring(model: Model, device: torch.device) -> Iterator[None]:
    """Measure a model in evaluation mode and its own precision, whatever those of training, and without gradients."""
    with eval_mode(model), torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


def log_densities(model: DensityModel, x: Tensor) -> FloatArray:
    """Compute log q of images (N, C, H, W) → (N,) float64 nats."""
    with measuring(model, x.device):
        return to_array(in_batches(model.log_prob, x, batch=BATCH))


def draw(model: Model, n: int, generator: torch.Generator) -> Tensor:
    """Draw n images (n, C, H, W). A larger n gives the same first images, and so does a GPU with less memory."""
    with measuring(model, generator.device):
        return torch.cat([_draw(model, min(BATCH, n - i), generator) for i in range(0, n, BATCH)])


def _draw(model: Model, n: int, generator: torch.Generator) -> Tensor:
    if type(model) is not RealNVP:
        return model.sample(n, generator)
    latents = model.sample_base(n, generator)  # of the whole batch: smaller ones would be other random numbers
    return torch.cat([*in_batches(lambda z: model.inverse(z)[0], latents, batch=BATCH)])


def to_array(parts: Iterable[Tensor]) -> FloatArray:
    """Join tensors (n,) as one float64 array."""
    return np.concatenate([part.double().cpu().numpy() for part in parts])
