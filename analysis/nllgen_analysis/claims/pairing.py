"""One number per seed, from pairs of runs or from single runs, with the reason where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from nllgen_analysis.claims.evidence import Arm, Run
from nllgen_analysis.claims.verdict import NAN, Sample

NO_VALUE = "no finite value"


def pairs_of(first: Arm, second: Arm) -> list[tuple[Run, Run]]:
    """Return the runs of every seed that is planned in both arms."""
    return [(first.by_seed[seed], second.by_seed[seed]) for seed in common_seeds(first, second)]


def common_seeds(first: Arm, second: Arm) -> list[int]:
    """Return the seeds that are planned in both arms."""
    return sorted(set(first.by_seed) & set(second.by_seed))


def pair_up(
    first: Arm,
    second: Arm,
    measure: Callable[[Run, Run], float],
    *,
    without: str = NO_VALUE,
    first_may_diverge: bool = False,
) -> Sample:
    """Measure the runs of every seed that both arms have.

    Args:
        first: arm of the first run.
        second: arm of the second run.
        measure: number of two finished runs of one seed; NaN or infinity is no value.
        without: reason that is given for a seed without a value.
        first_may_diverge: also measure diverged runs of the first arm.
    """
    return _sample(pairs_of(first, second), measure, without, first_may_diverge)


def each(arm: Arm, measure: Callable[[Run], float], *, without: str = NO_VALUE) -> Sample:
    """Measure the run of every seed of an arm."""
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
