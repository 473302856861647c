"""C3, C4, C5 and C6: what misspecification and finite data do to training by likelihood."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd

from nllgen_analysis.claims.evidence import Evidence, Run, Setting
from nllgen_analysis.claims.pairing import each, pair_up
from nllgen_analysis.claims.verdict import NAN, Finding, agreement, all_of, any_of, compare

NEEDS = "trained by NLL on a finite synthetic set"


def judge_ladder(evidence: Evidence) -> Finding:
    """C3."""
    rule = evidence.rules.C3
    required = [degree for degree in rule.ladder if degree not in rule.optional]
    settings, skipped = evidence.degree_settings(required, rule.optional)
    found = [_ladder(evidence, setting) for setting in settings]
    return agreement("C3", found, skipped, f"{', '.join(required)} {NEEDS}")


def _ladder(evidence: Evidence, setting: Setting) -> Finding:
    rungs = [degree for degree in evidence.rules.C3.ladder if degree in setting.arms]
    steps = list(itertools.pairwise(rungs))
    parts = [
        compare(
            f"{upper} − {lower}",
            pair_up(
                setting.arms[upper],
                setting.arms[lower],
                lambda a, b: evidence.last(a, "train_nll_nats") - evidence.last(b, "train_nll_nats"),
            ),
            confidence=evidence.confidence(len(steps)),
            min_seeds=evidence.min_seeds,
        )
        for upper, lower in steps
    ]
    return all_of(setting.label, parts)


def judge_convergence(evidence: Evidence) -> Finding:
    """C4."""
    rule = evidence.rules.C4
    required = [degree for degree in rule.degrees if degree not in rule.optional]
    settings, skipped = evidence.degree_settings(required, rule.optional)
    found = [_convergence(evidence, setting) for setting in settings]
    return agreement("C4", found, skipped, f"{', '.join(required)} {NEEDS}")


def _convergence(evidence: Evidence, setting: Setting) -> Finding:
    rule = evidence.rules.C4
    pairs = list(itertools.combinations([degree for degree in rule.degrees if degree in setting.arms], 2))

    def distance(first: Run, second: Run) -> float:
        return curve_distance(
            normalised(evidence.curve(first, "train_nll_nats")),
            normalised(evidence.curve(second, "train_nll_nats")),
            rule.min_evaluations,
        )

    parts = [
        compare(
            f"{a} and {b}",
            pair_up(setting.arms[a], setting.arms[b], distance, without="no curve, or one that does not fall"),
            confidence=evidence.confidence(len(pairs)),
            min_seeds=evidence.min_seeds,
            threshold=rule.max_distance,
            sense="below",
            unit="1",
        )
        for a, b in pairs
    ]
    return all_of(setting.label, parts)


def normalised(curve: pd.Series) -> pd.Series:
    """(L − L_end) / (L_0 − L_end); empty where the start is not above the end."""
    if len(curve) < 2 or not curve.iloc[0] > curve.iloc[-1]:
        return pd.Series(dtype=float)
    return (curve - curve.iloc[-1]) / (curve.iloc[0] - curve.iloc[-1])


def curve_distance(first: pd.Series, second: pd.Series, min_evaluations: int) -> float:
    """Largest distance at the steps that both have; NaN where those are too few."""
    common = first.index.intersection(second.index)
    if len(common) < min_evaluations:
        return NAN
    return float(np.abs(first.loc[common] - second.loc[common]).max())


def judge_finite(evidence: Evidence) -> Finding:
    """C5."""
    rule = evidence.rules.C5
    settings, skipped = evidence.degree_settings([rule.degree], rule.smaller, 1)
    found = []
    for setting in settings:
        smaller = [degree for degree in rule.smaller if degree in setting.arms]
        parts = [
            compare(
                f"{rule.degree} − {degree}",
                pair_up(
                    setting.arms[rule.degree],
                    setting.arms[degree],
                    lambda a, b: evidence.last(a, "val_nll_nats") - evidence.last(b, "val_nll_nats"),
                ),
                confidence=evidence.confidence(len(smaller)),
                min_seeds=evidence.min_seeds,
            )
            for degree in smaller
        ]
        found.append(any_of(setting.label, parts))
    return agreement("C5", found, skipped, f"{rule.degree} and {' or '.join(rule.smaller)} {NEEDS}")


def judge_harm(evidence: Evidence) -> Finding:
    """C6."""
    rule = evidence.rules.C6
    settings, skipped = evidence.degree_settings([rule.degree], [])
    found = []
    for setting in settings:
        harms, larger = _harm(evidence, setting)
        if harms.verdict != "undecided" and larger.verdict != "supported":
            skipped.append(f"{setting.label} has not overfitted: of its larger harm, {larger.why}")
        else:
            found.append(harms)
    return agreement("C6", found, skipped, f"{rule.degree} {NEEDS}, and overfitted")


def _harm(evidence: Evidence, setting: Setting) -> tuple[Finding, Finding]:
    """The difference of harms, and the larger of the two."""
    rule, arm = evidence.rules.C6, setting.arms[evidence.rules.C6.degree]
    columns = ("val_nll_nats", evidence.rules.general.frechet)

    def harms(run: Run) -> list[float]:
        return [harm(evidence.curve(run, column), rule.min_evaluations) for column in columns]

    def held_against_margin(label: str, measure: Callable[[Run], float]) -> Finding:
        without = f"no harm from fewer than {rule.min_evaluations} evaluations, or a start that is the best"
        sample = each(arm, measure, without=without)
        return compare(label, sample, confidence=evidence.confidence(1), min_seeds=evidence.min_seeds,
                       threshold=rule.margin, unit="1")  # fmt: skip

    difference = held_against_margin(setting.label, lambda run: -float(np.diff(harms(run))[0]))
    return difference, held_against_margin("larger harm", lambda run: float(np.max(harms(run))))


def harm(curve: pd.Series, min_evaluations: int) -> float:
    """(end − best) / (start − best): the share of all that was gained that is lost again; NaN where nothing was."""
    if len(curve) < min_evaluations:
        return NAN
    best = curve.min()
    gained = float(curve.iloc[0] - best)
    return float(curve.iloc[-1] - best) / gained if gained > 0 else NAN
