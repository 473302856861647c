"""Values of version 2: a run that diverged is infinitely bad, so that it counts against its side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from nllgen.study.config import Cell
from nllgen_analysis.claims.evidence import NO_VALUE, Arm, Evidence, Run
from nllgen_analysis.claims.verdict import NAN, Sample
from nllgen_analysis.claims.version2.rules import Rules
from nllgen_analysis.statistics import log

INF = math.inf
Value = Callable[[Run], float]


def sample(arms: Sequence[Arm], measure: Callable[..., float], *, without: str = NO_VALUE) -> Sample:
    """Measure the runs of every seed that all arms have.

    ±∞ counts as a seed on its side; NaN and a missing cell are no value, and ``without`` is the reason for NaN.
    """
    seeds = sorted(set.intersection(*(set(arm.by_seed) for arm in arms)))
    values, lost = [], []
    for seed in seeds:
        runs = [arm.by_seed[seed] for arm in arms]
        missing = [f"{run.id} missing" for run in runs if run.outcome == "missing"]
        value = NAN if missing else measure(*runs)
        values.append(value)
        if math.isnan(value):
            lost.append(f"seed {seed}: {', '.join(missing) or without}")
    cells = tuple(arm.by_seed[seed].id for seed in seeds for arm in arms)
    finite = tuple(value for value in values if math.isfinite(value))
    return Sample(finite, len(seeds), cells, tuple(lost), values.count(INF), values.count(-INF))


def difference(first: Arm, second: Arm, value: Value, *, without: str = NO_VALUE) -> Sample:
    """Subtract the values of two arms, paired by seed."""
    return sample([first, second], lambda a, b: value(a) - value(b), without=without)


def signed_difference(first: Arm, second: Arm, value: Value) -> Sample:
    """Return sign(d) ln(1 + |d|) of the differences d in nats, paired by seed."""
    return sample([first, second], lambda a, b: signed_log(value(a) - value(b)))


def log_kl(value: float) -> float:
    """Return the logarithm of an estimate of a KL, −∞ of one that is 0 or below 0 by its error.

    Such a run is nearer to the truth than can be measured: it counts as a seed on that side, and never drops out.
    """
    return -INF if value <= 0 else log(value)


def signed_log(value: float) -> float:
    """Return sign(x) ln(1 + |x|), which has the sign of x and spans its powers of ten."""
    return math.copysign(math.log1p(abs(value)), value)


def at_end(evidence: Evidence[Rules], run: Run, column: str, weights: str = "raw") -> float:
    """Return a value of the last evaluation, ∞ for a diverged run."""
    return INF if run.outcome == "diverged" else evidence.last(run, column, weights)


def at_best(evidence: Evidence[Rules], run: Run, column: str) -> float:
    """Return a value of the evaluation with the lowest validation NLL, ∞ for a diverged run."""
    if run.outcome == "diverged":
        return INF
    step = best_step(evidence, run)
    return float(evidence.curve(run, column).get(step, NAN))


def best_step(evidence: Evidence[Rules], run: Run) -> float:
    """Return the step of the lowest validation NLL, NaN if it was not measured."""
    curve = evidence.curve(run, "val_nll_nats")
    return float(curve.index[int(np.argmin(curve))]) if len(curve) else NAN


def on_test(evidence: Evidence[Rules], run: Run, column: str, weights: str = "last") -> float:
    """Return a final metric on the test split, ∞ for a diverged run."""
    return INF if run.outcome == "diverged" else evidence.final(run, column, weights)


def mean_at_end(evidence: Evidence[Rules], arm: Arm, column: str, weights: str) -> float:
    """Return the mean over the seeds of a value at the end of which more is worse.

    It is ∞ if a run diverged or has no finite value beside others that have, NaN if one is missing or none was
    measured.
    """
    values = [at_end(evidence, run, column, weights) for run in arm.runs]
    if any(run.outcome == "missing" for run in arm.runs) or all(map(math.isnan, values)):
        return NAN
    return float(np.mean(values)) if all(map(math.isfinite, values)) else INF


def num_evaluations(cell: Cell) -> int:
    """Return the number of planned evaluations, the start and the end among them."""
    training = cell.paradigm
    return 1 + math.ceil(training.steps / training.eval_every)
