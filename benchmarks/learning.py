"""Bits per dimension after equal epochs in bf16 and in fp32, over several seeds: speed must not cost quality."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.studies import run_study
from nllgen.storage.result import Result
from nllgen.study.config import Cell

GRID = """
name: learning
metrics: {frechet: [], every: [], final: [], num_samples: 100, num_train_eval: 1000}
cells:
  - data: {source: mnist}
    flow: {width: 16, blocks: 1}
    paradigm: {name: nll, steps: 1564, batch_size: 128, eval_every: 391}
    precision: [fp32, bf16]
    seed: {range: [0, 4]}
"""
Row = tuple[str, str, str]


def rows() -> list[Row]:
    """Return rows of (work, measured, goal); fail where the processor has no bf16."""
    bits = _bits(run_study(GRID))
    table = [
        (f"{precision}: real MNIST, width 16, 1 block, 4 epochs", _mean_and_spread(bits[precision]), "")
        for precision in bits
    ]
    apart = float(bits["bf16"].mean() - bits["fp32"].mean())
    spread = float(bits["fp32"].std(ddof=1))
    return [
        *table,
        (
            "bf16 minus fp32, and the standard deviation over fp32's seeds",
            f"{apart:+.4f}, {spread:.4f}",
            "|first| ≤ second",
        ),
    ]


def _bits(ran: list[tuple[Cell, Result]]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the last validation bits per dimension, by precision."""
    lists: dict[str, list[float]] = {}
    for cell, result in ran:
        lists.setdefault(cell.precision, []).append(float(result.eval["val_bits_per_dim"][-1]))
    return {precision: np.array(bits) for precision, bits in lists.items()}


def _mean_and_spread(bits: npt.NDArray[np.float64]) -> str:
    return f"{bits.mean():.4f} ± {bits.std(ddof=1):.4f} bits/dim over {len(bits)} seeds"
