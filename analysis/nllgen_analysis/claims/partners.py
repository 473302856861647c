"""Arms that belong together: NLL beside NSGAN, controls of either, the best of several configurations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from nllgen.study.config import Cell
from nllgen_analysis.claims.base_rules import AnyRules
from nllgen_analysis.claims.evidence import Arm, Evidence, Run, pairs_of
from nllgen_analysis.claims.verdict import NAN, Finding
from nllgen_analysis.text import number

Key = Callable[[Cell], tuple[object, ...]]
Sides = tuple[list[Arm], list[Arm]]
Pair = tuple[Run, Run]
Mean = Callable[[Evidence[AnyRules], Arm, str, str], float]  # of a column at the end, with one kind of weights


def two_sides(arms: Sequence[Arm], key: Key, is_game: Callable[[Cell], bool], skipped: list[str]) -> list[Sides]:
    """Group the arms of NLL and of a game that train a flow from a random start by a key."""
    groups: dict[tuple[object, ...], Sides] = {}
    for arm in arms:
        if is_trained_flow(arm.cell, "random"):
            if arm.cell.paradigm.name == "nll":
                groups.setdefault(key(arm.cell), ([], []))[0].append(arm)
            elif is_game(arm.cell):
                groups.setdefault(key(arm.cell), ([], []))[1].append(arm)
    skipped += [f"{gan[0].label} has no NLL partner" for nll, gan in groups.values() if gan and not nll]
    return [sides for sides in groups.values() if all(sides)]


def is_trained_flow(cell: Cell, start: str) -> bool:
    """Return whether a flow is trained from a start."""
    return cell.flow is not None and cell.start == start and cell.paradigm.steps > 0


def with_seeds(evidence: Evidence[AnyRules], arm: Arm, partners: Sequence[Arm], skipped: list[str]) -> Iterator[Arm]:
    """Yield the partners that share enough planned seeds; add the others to ``skipped``."""
    if not partners:
        skipped.append(f"{arm.label} has no partner")
    for partner in partners:
        count = len(pairs_of(arm, partner))
        if count >= evidence.min_seeds:
            yield partner
        else:
            skipped.append(f"{arm.label} has {count} planned seeds in common with {partner.label}")


def finished_mean(evidence: Evidence[AnyRules], arm: Arm, column: str, weights: str) -> float:
    """Return the mean at the end over the finished runs; NaN if there are none."""
    return mean_of([evidence.last(run, column, weights) for run in arm.runs])


def best_of(
    evidence: Evidence[AnyRules], arms: Sequence[Arm], kinds: Sequence[str], mean: Mean[AnyRules]
) -> tuple[Arm, str, float]:
    """Return the arm with the lowest mean Fréchet distance on validation, the weights of its final row, the distance.

    The distance is NaN if no arm has a result.
    """
    frechet = evidence.rules.general.frechet
    means = {(i, kind): mean(evidence, arm, frechet, kind) for i, arm in enumerate(arms) for kind in kinds}
    index, kind = min(means, key=lambda key: math.inf if math.isnan(means[key]) else means[key])
    return arms[index], "ema" if kind == "ema" else "last", means[index, kind]


def controlled(
    evidence: Evidence[AnyRules], finding: Finding, gan: Arm, controls: Sequence[Arm], needed: str, mean: Mean[AnyRules]
) -> Finding:
    """Make a finding undecided unless a positive control reached its registered Fréchet distance.

    ``needed`` describes a control on the data of ``gan``.
    """
    data = gan.cell.data
    lowest = best_of(evidence, controls, ("raw", "ema"), mean)[2] if controls else NAN
    most = evidence.rules.C1.max_control.get(str(data.image_size))
    cells = (*finding.cells, *(id for arm in controls for id in arm.ids))
    if most is None:
        problem = f"no Fréchet distance is registered for a control at {data.image_size}×{data.image_size}"
    elif not controls:
        problem = f"the study has no positive control ({needed})"
    elif math.isnan(lowest):
        missing = ", ".join(run.id for arm in controls for run in arm.runs if run.outcome == "missing")
        problem = f"the positive control has no result{f' of {missing}' if missing else ''}"
    elif math.isinf(lowest):
        problem = "a run of the positive control diverged, or has no Fréchet distance"
    elif lowest > most:
        problem = f"the positive control reached {number(lowest)}, more than the registered {number(most)}"
    else:
        passed = f"the positive control reached {number(lowest)}, at most {number(most)} is registered"
        return replace(finding, why=f"{finding.why}; {passed}", cells=cells)
    return replace(finding, verdict="undecided", why=f"{problem}; {finding.why}", cells=cells)


def is_nash_control(nash: Cell, other: Cell) -> bool:
    """Return whether a cell is trained by NLL from the truth as the game of ``nash`` is."""
    if not is_trained_flow(other, "truth") or other.paradigm.name != "nll" or other.paradigm.schedule != "constant":
        return False
    return problem(nash) == problem(other) and optimisation(nash) == optimisation(other)


def problem(cell: Cell) -> tuple[object, ...]:
    """Return what a game from the truth and its controls share: data, flow, precision, noise on the start."""
    return cell.data, cell.flow, cell.precision, cell.start_noise


def optimisation(cell: Cell) -> tuple[object, ...]:
    """Return what two runs with the same optimiser and batches share."""
    return (cell.paradigm.batch_size, *optimiser_steps(cell))


def optimiser_steps(cell: Cell) -> tuple[object, ...]:
    """Return what two runs with the same steps of the same optimiser share."""
    training = cell.paradigm
    moments = (training.beta1, training.beta2) if training.optimizer == "adam" else ()
    return training.steps, training.lr, training.optimizer, *moments


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of the finite values, NaN if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else NAN
