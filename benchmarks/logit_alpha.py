"""The α of the logit transform and the learning rate that train fastest: bits/dim at 28×28 after equal steps.

Most pixels of MNIST have the level 0. Their logits lie between log(α) and log(α + 1/256). Their distribution tends to
an exponential one for α → 0, and to a uniform one for α far above 1/256. An affine coupling does not change the shape
of a pixel's distribution that does not depend on other pixels, so that such a pixel costs what the best normal
density costs. A larger α leaves a narrower band for black, which takes longer to learn. The table has this cost
beside the bits/dim that training reaches.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.studies import run_study

ALPHAS = (1e-6, 1e-4, 1e-3)
RATES = {
    "cosine from 0.001": (1e-3, "cosine"),
    "cosine from 0.01": (1e-2, "cosine"),
    "the same after a warm-up": (1e-2, "warmup_cosine"),
}
BLOCK = """
  - data: {{source: mnist, num_val: 2000, num_test: 1000, alpha: [{alphas}]}}
    flow: {{width: 16, blocks: 1}}
    paradigm: {{name: nll, steps: 250, batch_size: 128, lr: {lr:.0e}, schedule: {schedule}, eval_every: 250}}
    precision: fp32
    seed: 0
"""
HEAD = """
name: alpha
metrics: {frechet: [], every: [], final: [], num_samples: 100, num_train_eval: 1000}
cells:
"""
Row = tuple[str, str, str]


def grid() -> str:
    """Return a grid of every α at every learning rate."""
    alphas = ", ".join(f"{alpha:.0e}" for alpha in ALPHAS)
    return HEAD + "".join(BLOCK.format(alphas=alphas, lr=lr, schedule=schedule) for lr, schedule in RATES.values())


def rows() -> list[Row]:
    """Return rows of (work, measured, goal)."""
    bits = {}
    for cell, result in run_study(grid()):
        key = (cell.data.alpha, cell.paradigm.lr, cell.paradigm.model_dump()["schedule"])
        bits[key] = float(result.eval["val_bits_per_dim"][-1])
    return [
        (
            f"α = {alpha:g}: bits/dim, width 16, 1 block, 250 steps of 128, seed 0",
            ", ".join(f"{bits[alpha, *rate]:.3f} by {name}" for name, rate in RATES.items()),
            f"a normal density of a black pixel: {normal_cost(alpha):.2f} bits above the truth",
        )
        for alpha in ALPHAS
    ]


def normal_cost(alpha: float) -> float:
    """Return the KL in bits from the dequantised logits of level 0 to the normal density of their mean and variance."""
    v = (np.arange(1_000_000) + 0.5) / 1_000_000 / 256
    w = alpha + (1 - 2 * alpha) * v
    y = np.log(w) - np.log1p(-w)
    entropy = math.log(1 / 256) + float(np.mean(np.log((1 - 2 * alpha) / (w * (1 - w)))))
    return (0.5 * math.log(2 * math.pi * math.e * float(y.var())) - entropy) / math.log(2)
