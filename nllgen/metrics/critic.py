"""An independent critic: how well a network that no model was trained against tells a model's draws from true images.

For every function d, JSD(p, q) ≥ ln 2 − ½ E_p softplus(−d) − ½ E_q softplus(d), with equality where d = log p − log q
(Goodfellow et al. 2014, theorem 1; Nowozin, Cseke & Tomioka 2016, §2.2). A critic is trained to make the bound large on
one half of the held-out images and of the draws; a quarter chooses when to stop, and the last quarter scores, so that
neither the model's own discriminator nor the critic's memory of single images counts: the independent critic of
Danihelka, Lakshminarayanan, Uria, Wierstra & Dayan (2017, §4) with a divergence that is in nats, and exact beside it
where both densities are known. It needs no density and looks at pixels.
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
_NOTHING = Estimate(math.nan, math.nan)


def critic_jsd(real: Tensor, fake: Tensor, generator: torch.Generator) -> Estimate:
    """A lower bound of the Jensen-Shannon divergence in expectation, nats.

    A critic that finds nothing keeps its start, d ≡ 0, whose bound is 0.

    Args:
        real, fake: pixels (n, C, H, W) in [0, 1], n ≥ 8, each in random order.
        generator: of the critic's weights and of its batches, on their device.
    """
    half, rest = len(real) // 2, -(-3 * len(real) // 4)
    real, fake = 2 * real - 1, 2 * fake - 1
    critic = _critic(real.shape, generator)
    _train(critic, (real[:half], fake[:half]), (real[half:rest], fake[half:rest]), generator)
    return _bound(critic, (real[rest:], fake[rest:]))


def _critic(shape: torch.Size, generator: torch.Generator) -> nn.Module:
    """Three strided convolutions and a linear layer, (N, C, H, W) → (N, 1); its last layer starts at 0."""
    channels, sides = shape[1], [-(-side // 8) for side in shape[2:]]
    layers: list[nn.Module] = []
    for n_in, n_out in ((channels, WIDTH), (WIDTH, 2 * WIDTH), (2 * WIDTH, 4 * WIDTH)):
        conv = _bare(nn.Conv2d, n_in, n_out, 3, stride=2, padding=1, device=generator.device)
        nn.init.kaiming_normal_(conv.weight, generator=generator)
        nn.init.zeros_(conv.bias)
        layers += [conv, nn.ReLU(inplace=True)]
    last = _bare(nn.Linear, 4 * WIDTH * math.prod(sides), 1, device=generator.device)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, nn.Flatten(), last)


def _bare(kind: type[nn.Module], *args: Any, **options: Any) -> Any:
    """A module without initial values, which would be taken from the global generator."""
    return skip_init(kind, *args, **options)  # type: ignore[no-untyped-call]


def _train(critic: nn.Module, shown: Pair, choosing: Pair, generator: torch.Generator) -> None:
    """Leave the weights of whatever step has the best bound on ``choosing``."""
    optimizer = torch.optim.Adam(critic.parameters(), lr=_LR)
    best, kept = 0.0, deepcopy(critic.state_dict())
    for step in range(1, STEPS + 1):
        real, fake = (x[_some(x, generator)] for x in shown)
        with torch.enable_grad(), torch.autocast(generator.device.type, enabled=False):
            d_real, d_fake = critic(torch.cat((real, fake))).chunk(2)
            loss = softplus(-d_real).mean() + softplus(d_fake).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % _CHECK_EVERY == 0 and (found := _bound(critic, choosing).value) > best:
            best, kept = found, deepcopy(critic.state_dict())
    critic.load_state_dict(kept)


def _some(x: Tensor, generator: torch.Generator) -> Tensor:
    """Indices of a batch, drawn with replacement."""
    return torch.randint(len(x), (BATCH,), generator=generator, device=generator.device)


def _bound(critic: nn.Module, pair: Pair) -> Estimate:
    return jsd(*(_answers(critic, x) for x in pair))


@torch.no_grad()
def _answers(critic: nn.Module, x: Tensor) -> FloatArray:
    """d (N,) of images as the critic sees them."""
    with torch.autocast(x.device.type, enabled=False):
        return np.concatenate([critic(part)[:, 0].double().cpu().numpy() for part in torch.split(x, 1_000)])


def _measure(m: Measurement) -> Row:
    found = _against(m.references, m.split, m.samples)

    def make_floor() -> Estimate:
        return _against(m.references, m.split, m.references.sets[OTHER[m.split]].x)

    floor = m.references.once(("floor", "critic", m.split), make_floor)
    return {"critic_jsd_nats": found.value, "critic_jsd_se_nats": found.se, "critic_jsd_floor_nats": floor.value}


def _against(references: References, split: str, fake: Tensor) -> Estimate:
    """The critic between a split and draws, or other true images, as many on each side; NaN where there are too few."""
    real = references.sets[split].x
    num = min(references.num_samples[split], len(real))
    if num < 8 or len(fake) < num:
        return _NOTHING
    generator = references.generator(f"critic-{split}")
    orders = [torch.randperm(len(x), generator=generator, device=generator.device)[:num] for x in (real, fake)]
    real, fake = references.to_pixels(real[orders[0]]), references.to_pixels(fake[orders[1]])  # files have their order
    return critic_jsd(real, fake, generator) if bool(fake.isfinite().all()) else _NOTHING


GROUP = MetricGroup("critic", ("critic_jsd_nats", "critic_jsd_se_nats", "critic_jsd_floor_nats"), frozenset(), _measure)
