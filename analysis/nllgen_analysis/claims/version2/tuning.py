"""Tuned NSGAN: the winner of trials with equal budgets, on seeds that are not judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nllgen.study.config import Cell, NSGANConfig
from nllgen_analysis.claims.evidence import Arm, Evidence, data_label
from nllgen_analysis.claims.partners import Sides, best_of, two_sides
from nllgen_analysis.claims.version2.rules import Rules


@dataclass(frozen=True)
class Winners:
    """The judged arms of the configurations that won, and the kind of weights of NSGAN's final row that won."""

    nll: Arm
    gan: Arm
    weights: str
    trials: tuple[Arm, ...]


def is_tunable(evidence: Evidence[Rules], cell: Cell) -> bool:
    """Return whether a cell is NSGAN that differs from plain NSGAN by settings that trials may vary."""
    free = evidence.rules.tuning.free
    settings = [(key, value) for key, value in evidence.rules.plain_nsgan.items() if key not in free]
    return cell.paradigm.name == "nsgan" and all(getattr(cell.paradigm, key) == value for key, value in settings)


def tuned(evidence: Evidence[Rules], skipped: list[str]) -> list[Winners]:
    """Return the winners of every tuning study; add those without winners to ``skipped``."""

    def key(cell: Cell) -> tuple[object, ...]:
        return cell.data, cell.flow, cell.precision, cell.paradigm.steps, cell.paradigm.batch_size

    winners = []
    for likelihood, adversarial in two_sides(evidence.trials, key, lambda cell: is_tunable(evidence, cell), skipped):
        problem = _unequal(evidence, (likelihood, adversarial))
        nll, (gan, weights, _) = best_of(evidence, likelihood, ("raw",))[0], best_of(evidence, adversarial, _KINDS)
        judged = [_judged(evidence, arm) for arm in (nll, gan)]
        if problem or None in judged:
            lacking = [arm.label for arm, own in zip((nll, gan), judged, strict=True) if own is None]
            skipped.append(problem or f"the winner {' and '.join(lacking)} has no cells on seeds that are judged")
        elif judged[0] and judged[1]:
            winners.append(Winners(judged[0], judged[1], weights, (*likelihood, *adversarial)))
    return winners


_KINDS = ("raw", "ema")


def _unequal(evidence: Evidence[Rules], sides: Sides) -> str:
    """Return how the budgets of the two sides differ or what the trials lack; empty if nothing is wrong."""
    rule, data = evidence.rules.tuning, data_label(sides[0][0].cell)
    likelihood, adversarial = (f"{len(arms)} configurations ({_num_runs(arms)} trials)" for arms in sides)
    if likelihood != adversarial:
        return f"{data}: unequal tuning budgets, {likelihood} of NLL and {adversarial} of NSGAN"
    games = [arm.cell.paradigm for arm in sides[1] if isinstance(arm.cell.paradigm, NSGANConfig)]
    lacking = sorted(set(rule.r1_gammas) - {game.r1_gamma for game in games})
    if lacking:
        return f"{data}: no trials of NSGAN with r1_gamma {', '.join(f'{gamma:g}' for gamma in lacking)}"
    num_rates = len({game.lr for game in games})
    return (
        "" if num_rates >= rule.min_rates else f"{data}: trials of {num_rates} learning rate, {rule.min_rates} needed"
    )


def _num_runs(arms: Sequence[Arm]) -> int:
    return sum(len(arm.runs) for arm in arms)


def _judged(evidence: Evidence[Rules], trial: Arm) -> Arm | None:
    """Return the arm of the same configuration with other seeds."""

    def config(arm: Arm) -> str:
        return arm.cell.model_dump_json(exclude={"seed", "degree"})

    return next((arm for arm in evidence.arms if config(arm) == config(trial)), None)
