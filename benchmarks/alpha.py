"""Which α of the logit transform is learnt soonest: validation bits per dimension after equal steps at 28×28.

The level 0 is most of MNIST, and its logits lie between log(α) and log(α + 1/256): as α goes to 0 they get the shape
of an exponential distribution, and of a uniform one where α is far above 1/256. An affine coupling does not change the
shape of a pixel that no other tells of: it costs what the best normal density does. Beside that, what training reaches.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.studies import run_study
from nllgen.store.result import Result
from nllgen.study.config import Cell

ALPHAS = (1e-6, 1e-4, 1e-3, 3e-3, 1e-2)
SEEDS = 2
GRID = f"""
name: alpha
metrics: {{frechet: [], every: [], final: [], num_samples: 100, num_train_eval: 1000}}
cells:
  - data: {{source: mnist, num_val: 2000, num_test: 1000, alpha: [{", ".join(f"{alpha:.0e}" for alpha in ALPHAS)}]}}
    flow: {{width: 16, blocks: 1}}
    paradigm: {{name: nll, steps: 500, batch_size: 128, eval_every: 250}}
    precision: fp32
    seed: {{range: [0, {SEEDS}]}}
"""
Row = tuple[str, str, str]


def rows() -> list[Row]:
    """(what, measured, reached for)."""
    bits = _bits(run_study(GRID))
    return [
        (
            f"α = {alpha:g}: bits/dim, width 16, 1 block, after 250 and 500 steps of 128, {SEEDS} seeds",
            f"{_told(bits[alpha], 0)}; {_told(bits[alpha], 1)}",
            f"a normal density of a black pixel: {normal_cost(alpha):.2f} bits above the truth",
        )
        for alpha in ALPHAS
    ]


def normal_cost(alpha: float) -> float:
    """KL in bits from the logits of level 0, dequantised, to the normal density of the same mean and variance."""
    v = (np.arange(1_000_000) + 0.5) / 1_000_000 / 256
    w = alpha + (1 - 2 * alpha) * v
    y = np.log(w) - np.log1p(-w)
    entropy = math.log(1 / 256) + float(np.mean(np.log((1 - 2 * alpha) / (w * (1 - w)))))
    return (0.5 * math.log(2 * math.pi * math.e * float(y.var())) - entropy) / math.log(2)


def _bits(ran: list[tuple[Cell, Result]]) -> dict[float, list[tuple[float, float]]]:
    """Validation bits per dimension in the middle and at the end of every seed, by α."""
    found: dict[float, list[tuple[float, float]]] = {}
    for cell, result in ran:
        _, middle, end = result.eval["val_bits_per_dim"]
        found.setdefault(cell.data.alpha, []).append((float(middle), float(end)))
    return found


def _told(seeds: list[tuple[float, float]], at: int) -> str:
    return " and ".join(f"{bits[at]:.3f}" for bits in seeds)
