"""Jensen-Shannon divergence of a model's draws from true images, bounded by an independently trained critic.

For every function d, JSD(p, q) ≥ ln 2 − ½ E_p softplus(−d) − ½ E_q softplus(d), with equality where d = log p − log q
(Goodfellow et al. 2014, theorem 1; Nowozin, Cseke & Tomioka 2016, §2.2). A critic is trained to maximise the bound on
one half of the held-out images and of the draws. A quarter selects the best step, and the last quarter gives the
estimate, so that neither the model's own discriminator nor the critic's memory of single images counts. This is the
independent critic of Danihelka, Lakshminarayanan, Uria, Wierstra & Dayan (2017, §4) with a divergence in nats, which
can be compared with the exact one where both densities are known. It needs no density and uses pixels.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils import skip_init

from nllgen.metrics.exact import Estimate, FloatArray, jsd
from nllgen.metrics.measurement import OTHER, Measurement, References, Row
from nllgen.metrics.metric_group import MetricGroup

STEPS = 300
WIDTH = 16  # feature maps of the first convolution
BATCH = 100  # images of each side
_CHECK_EVERY = 20  # steps
_LR = 1e-3
Pair = tuple[Tensor, Tensor]  # true images, draws
_UNDEFINED = Estimate(math.nan, math.nan)


def critic_jsd(real: Tensor, fake: Tensor, generator: torch.Generator) -> Estimate:
    """Estimate a lower bound of the Jensen-Shannon divergence, nats.

    A critic that does not improve on its start d ≡ 0 gives the bound 0. Pixels (n, C, H, W) in [0, 1], n ≥ 8, are in
    random order; ``generator``, on their device, draws the critic's weights and batches.
    """
    half, three_quarters = len(real) // 2, -(-3 * len(real) // 4)
    real, fake = 2 * real - 1, 2 * fake - 1
    critic = _make_critic(real.shape, generator)
    validation = real[half:three_quarters], fake[half:three_quarters]
    _train(critic, (real[:half], fake[:half]), validation, generator)
    return _bound(critic, (real[three_quarters:], fake[three_quarters:]))


def _make_critic(shape: torch.Size, generator: torch.Generator) -> nn.Module:
    """Create three strided convolutions and a linear layer, (N, C, H, W) → (N, 1); the last layer starts at 0."""
    channels, sides = shape[1], [-(-side // 8) for side in shape[2:]]
    layers: list[nn.Module] = []
    for n_in, n_out in ((channels, WIDTH), (WIDTH, 2 * WIDTH), (2 * WIDTH, 4 * WIDTH)):
        conv = _without_init(nn.Conv2d, n_in, n_out, 3, stride=2, padding=1, device=generator.device)
        nn.init.kaiming_normal_(conv.weight, generator=generator)
        nn.init.zeros_(conv.bias)
        layers += [conv, nn.ReLU(inplace=True)]
    last = _without_init(nn.Linear, 4 * WIDTH * math.prod(sides), 1, device=generator.device)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, nn.Flatten(), last)


def _without_init(kind: type[nn.Module], *args: Any, **options: Any) -> Any:
    """Create a module without initial values, which would be drawn from the global generator."""
    return skip_init(kind, *args, **options)  # type: ignore[no-untyped-call]


def _train(critic: nn.Module, training: Pair, validation: Pair, generator: torch.Generator) -> None:
    """Train the critic, and keep the weights of the step with the best bound on ``validation``."""
    optimizer = torch.optim.Adam(critic.parameters(), lr=_LR)
    best, best_weights = 0.0, deepcopy(critic.state_dict())
    for step in range(1, STEPS + 1):
        rows = [torch.randint(len(x), (BATCH,), generator=generator, device=generator.device) for x in training]
        real, fake = (x[drawn] for x, drawn in zip(training, rows, strict=True))
        with torch.enable_grad(), torch.autocast(generator.device.type, enabled=False):
            d_real, d_fake = critic(torch.cat((real, fake))).chunk(2)
            loss = softplus(-d_real).mean() + softplus(d_fake).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % _CHECK_EVERY == 0 and (bound := _bound(critic, validation).value) > best:
            best, best_weights = bound, deepcopy(critic.state_dict())
    critic.load_state_dict(best_weights)


def _bound(critic: nn.Module, pair: Pair) -> Estimate:
    return jsd(*(_logits(critic, x) for x in pair))


@torch.no_grad()
def _logits(critic: nn.Module, x: Tensor) -> FloatArray:
    """Compute d (N,) of inputs in [−1, 1]."""
    with torch.autocast(x.device.type, enabled=False):
        return np.concatenate([critic(part)[:, 0].double().cpu().numpy() for part in torch.split(x, 1_000)])


def _measure(m: Measurement) -> Row:
    def compute_floor() -> Estimate:
        return _compare(m.references, m.split, m.references.sets[OTHER[m.split]].x)

    estimate = _compare(m.references, m.split, m.samples)
    floor = m.references.cached(("floor", "critic", m.split), compute_floor)
    return {"critic_jsd_nats": estimate.value, "critic_jsd_se_nats": estimate.se, "critic_jsd_floor_nats": floor.value}


def _compare(references: References, split: str, fake: Tensor) -> Estimate:
    """Train a critic between a split and as many draws or other true images; NaN if there are too few of them."""
    real = references.sets[split].x
    num = min(references.num_samples[split], len(real))
    if num < 8 or len(fake) < num:
        return _UNDEFINED
    generator = references.generator(f"critic-{split}")
    # Data sets are not in random order.
    orders = [torch.randperm(len(x), generator=generator, device=generator.device)[:num] for x in (real, fake)]
    real, fake = references.to_pixels(real[orders[0]]), references.to_pixels(fake[orders[1]])
    return critic_jsd(real, fake, generator) if bool(fake.isfinite().all()) else _UNDEFINED


GROUP = MetricGroup("critic", ("critic_jsd_nats", "critic_jsd_se_nats", "critic_jsd_floor_nats"), frozenset(), _measure)
