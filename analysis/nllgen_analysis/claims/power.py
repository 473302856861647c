"""Power of the rules: the effects that a number of seeds can see, by simulation at a spread that was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from nllgen_analysis.statistics import CONFIDENCE, lower_share

POWER = 0.8
NUM_SIMULATED = 100_000
SHARES = np.linspace(0.5, 1.0, 501)


def visible_effect(spread: float, num_seeds: int, confidence: float = CONFIDENCE, power: float = POWER) -> float:
    """Return the distance from the threshold that a t interval decides with a probability.

    Studies of ``num_seeds`` normal differences with the standard deviation ``spread`` are simulated. An effect lies on
    the right side of its interval where it exceeds the half width minus the error of the mean.
    """
    random = np.random.default_rng(num_seeds)
    values = random.standard_normal((NUM_SIMULATED, num_seeds))
    half = stats.t.ppf((1 + confidence) / 2, num_seeds - 1) * values.std(axis=1, ddof=1) / np.sqrt(num_seeds)
    return spread * float(np.quantile(half - values.mean(axis=1), power))


def visible_share(num_seeds: int, share: float, confidence: float = CONFIDENCE, power: float = POWER) -> float:
    """Return the share of failing runs whose Clopper–Pearson bound is above ``share`` with a probability."""
    counts = [count for count in range(num_seeds + 1) if lower_share(count, num_seeds, confidence) > share]
    enough = min(counts)
    seen = stats.binom.sf(enough - 1, num_seeds, SHARES)
    return float(SHARES[int(np.argmax(seen >= power))])


def spread_of(values: Sequence[float]) -> float:
    """Return the standard deviation over seeds."""
    return float(np.std(values, ddof=1))
