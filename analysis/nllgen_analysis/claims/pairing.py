"""One number a seed: of pairs of runs, or of runs alone, with the reason where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from nllgen_analysis.claims.evidence import Arm, Run
from nllgen_analysis.claims.verdict import NAN, Sample


def pair_up(
    first: Arm,
    second: Arm,
    measure: Callable[[Run, Run], float],
    *,
    without: str = "no finite value",
    first_may_diverge: bool = False,
) -> Sample:
    """``measure`` for every seed that both arms have.

    Args:
        first, second: the arms.
        measure: of two finished runs of one seed; NaN or infinity where there is no value.
        without: what is said of a seed without a value.
        first_may_diverge: ``measure`` knows what to do with a diverged run of the first arm.
    """
    pairs = [(first.by_seed[seed], second.by_seed[seed]) for seed in common_seeds(first, second)]
    return _sample(pairs, measure, without, first_may_diverge)


def each(arm: Arm, measure: Callable[[Run], float], *, without: str = "no finite value") -> Sample:
    """``measure`` for every seed of an arm."""
    return _sample([(run,) for run in arm.runs], measure, without, False)


def _sample(
    groups: Sequence[tuple[Run, ...]], measure: Callable[..., float], without: str, first_may_diverge: bool
) -> Sample:
    values, lost = [], []
    for runs in groups:
        unfinished = [
            f"{run.id} {run.outcome}"
            for run in runs
            if run.outcome != "done" and not (first_may_diverge and run is runs[0] and run.outcome == "diverged")
        ]
        value = NAN if unfinished else measure(*runs)
        if math.isfinite(value):
            values.append(value)
        else:
            lost.append(f"seed {runs[0].cell.seed}: {', '.join(unfinished) or without}")
    return Sample(tuple(values), len(groups), tuple(run.id for runs in groups for run in runs), tuple(lost))


def common_seeds(first: Arm, second: Arm) -> list[int]:
    """Seeds that are planned for both."""
    return sorted(set(first.by_seed) & set(second.by_seed))
