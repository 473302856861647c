"""Tuned NSGAN: the winner of trials with equal budgets, on seeds that are not judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nllgen.study.config import Cell, NSGANConfig
from nllgen.study.tuning import Trial, Tuning, best_trial
from nllgen_analysis.claims.evidence import Arm, Evidence, data_label
from nllgen_analysis.claims.version2.rules import Rules
from nllgen_analysis.text import counted

Sides = tuple[list[Trial], list[Trial]]  # of NLL, of NSGAN
_Problem = tuple[object, ...]  # what trials share that are compared


@dataclass(frozen=True)
class Winners:
    """The judged arms of the configurations that won, and the kind of weights of NSGAN's final row that won."""

    nll: Arm
    gan: Arm
    weights: str
    source: str  # name and digest of the tuning study


def is_tunable(evidence: Evidence[Rules], cell: Cell) -> bool:
    """Return whether a cell is NSGAN that differs from plain NSGAN by settings that trials may vary."""
    free = evidence.rules.tuning.free
    settings = [(key, value) for key, value in evidence.rules.plain_nsgan.items() if key not in free]
    return cell.paradigm.name == "nsgan" and all(getattr(cell.paradigm, key) == value for key, value in settings)


def tuned(evidence: Evidence[Rules], skipped: list[str]) -> list[Winners]:
    """Return the winners on every problem that the tuning study tried; add those without to ``skipped``."""
    tuning = evidence.frames.tuning
    if tuning is None:
        skipped.append("the study names no tuning study")
        return []
    winners = []
    for sides in sides_of(evidence, tuning.trials):
        outcome = budget_problem(evidence, sides) or _winners(evidence, tuning, sides)
        if isinstance(outcome, Winners):
            winners.append(outcome)
        else:
            skipped.append(f"{data_label(sides[0][0].cell)}: {outcome}")
    return winners


def sides_of(evidence: Evidence[Rules], trials: Sequence[Trial]) -> list[Sides]:
    """Group the trials of NLL and NSGAN of a flow from a random start by what they share.

    Games that differ from plain NSGAN by more than trials may vary are among them: they may be the best.
    """
    groups: dict[_Problem, Sides] = {}
    for trial in trials:
        if trial.cell.flow is None or trial.cell.start != "random":
            continue
        sides = groups.setdefault(problem_key(trial.cell), ([], []))
        if trial.cell.paradigm.name in ("nll", "nsgan"):
            sides[trial.cell.paradigm.name == "nsgan"].append(trial)
    return [sides for sides in groups.values() if all(sides)]


def problem_key(cell: Cell) -> _Problem:
    """Return data, architecture, precision, start and budget of a trial: those with equal ones are compared."""
    budget = (cell.paradigm.steps, cell.paradigm.batch_size)
    return (cell.data.canonical, cell.architecture.canonical, cell.precision, cell.start, cell.start_noise, *budget)


def _winners(evidence: Evidence[Rules], tuning: Tuning, sides: Sides) -> Winners | str:
    """Return the winners of both sides with the arms that are judged, or what is missing."""
    bests = [best_trial(trials) for trials in sides]
    arms = []
    for best, name in zip(bests, ("NLL", "NSGAN"), strict=True):
        if best is None:
            return f"every trial of {name} diverged"
        arm = _judged(evidence, best[0])
        if arm is None:
            return f"the winner of {name} ({_settings(best[0])}) has no cells in the study"
        if tried := set(arm.by_seed) & {seed for trial in (*sides[0], *sides[1]) for seed in trial.seeds}:
            return f"{arm.label} has seeds that were trials: {', '.join(map(str, sorted(tried)))}"
        arms.append(arm)
    gan = bests[1]
    weights = "ema" if gan is not None and gan[1] == "ema" else "last"
    return Winners(arms[0], arms[1], weights, f"{tuning.study}, SHA-256 {tuning.sha256[:16]}")


def _settings(trial: Trial) -> str:
    training = trial.cell.paradigm
    gamma = f", r1_gamma {training.r1_gamma:g}" if isinstance(training, NSGANConfig) else ""
    return f"lr {training.lr:g}{gamma}"


def budget_problem(evidence: Evidence[Rules], sides: Sides) -> str:
    """Return how the budgets of the two sides differ or what the trials lack; empty if nothing is wrong."""
    rule = evidence.rules.tuning
    foreign = [trial for trial in sides[1] if not is_tunable(evidence, trial.cell)]
    if foreign:
        beyond = counted(len(foreign), "configuration")
        return f"trials of NSGAN vary more than the rule lets them vary ({', '.join(rule.free)}): {beyond}"
    likelihood, adversarial = (
        f"{counted(len(trials), 'configuration')} ({counted(_num_runs(trials), 'trial')})" for trials in sides
    )
    if likelihood != adversarial:
        return f"unequal tuning budgets, {likelihood} of NLL and {adversarial} of NSGAN"
    games = [trial.cell.paradigm for trial in sides[1] if isinstance(trial.cell.paradigm, NSGANConfig)]
    lacking = sorted(set(rule.r1_gammas) - {game.r1_gamma for game in games})
    if lacking:
        return f"no trials of NSGAN with r1_gamma {', '.join(f'{gamma:g}' for gamma in lacking)}"
    num_rates = len({game.lr for game in games})
    return (
        ""
        if num_rates >= rule.min_rates
        else f"trials of {counted(num_rates, 'learning rate')}, {rule.min_rates} needed"
    )


def _num_runs(trials: Sequence[Trial]) -> int:
    return sum(len(trial.seeds) for trial in trials)


def _judged(evidence: Evidence[Rules], trial: Trial) -> Arm | None:
    """Return the arm of the same configuration, however often it is evaluated."""

    def config(cell: Cell) -> dict[str, object]:
        return cell.model_dump(exclude={"seed": True, "degree": True, "paradigm": {"eval_every"}})

    wanted = config(trial.cell)
    return next((arm for arm in evidence.arms if config(arm.cell) == wanted), None)
