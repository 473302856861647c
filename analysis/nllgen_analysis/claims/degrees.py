"""C3, C4, C5 and C6: effects of misspecification and of finite data on training by likelihood."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd

from nllgen_analysis.claims.evidence import Evidence, Run, Setting
from nllgen_analysis.claims.pairing import each, pair_up
from nllgen_analysis.claims.verdict import NAN, Finding, agreement, all_of, any_of

NEEDS = "trained by NLL on a finite synthetic set"


def judge_ladder(evidence: Evidence) -> Finding:
    """Judge C3: the degrees reach different training NLLs, in the registered order."""
    rule = evidence.rules.C3
    required = [degree for degree in rule.ladder if degree not in rule.optional]
    settings, skipped = evidence.degree_settings(required, rule.optional)
    findings = []
    for setting in settings:
        steps = list(itertools.pairwise(degree for degree in rule.ladder if degree in setting.arms))
        parts = [_difference(evidence, setting, *step, "train_nll_nats", len(steps)) for step in steps]
        findings.append(all_of(setting.label, parts))
    return agreement("C3", findings, skipped, f"{', '.join(required)} {NEEDS}")


def _difference(evidence: Evidence, setting: Setting, upper: str, lower: str, column: str, num_parts: int) -> Finding:
    """Compare the last values of two degrees; the claim is that the first one's is larger."""
    arms = {str(degree): arm for degree, arm in setting.arms.items()}
    sample = pair_up(arms[upper], arms[lower], lambda a, b: evidence.last(a, column) - evidence.last(b, column))
    return evidence.compare(f"{upper} − {lower}", sample, num_parts)


def judge_convergence(evidence: Evidence) -> Finding:
    """Judge C4: normalised training curves of all degrees lie close to each other."""
    rule = evidence.rules.C4
    required = [degree for degree in rule.degrees if degree not in rule.optional]
    settings, skipped = evidence.degree_settings(required, rule.optional)
    findings = [_convergence(evidence, setting) for setting in settings]
    return agreement("C4", findings, skipped, f"{', '.join(required)} {NEEDS}")


def _convergence(evidence: Evidence, setting: Setting) -> Finding:
    rule = evidence.rules.C4
    pairs = list(itertools.combinations([degree for degree in rule.degrees if degree in setting.arms], 2))

    def distance(first: Run, second: Run) -> float:
        first_curve, second_curve = (normalised(evidence.curve(run, "train_nll_nats")) for run in (first, second))
        return curve_distance(first_curve, second_curve, rule.min_evaluations)

    parts = [
        evidence.compare(
            f"{a} and {b}",
            pair_up(setting.arms[a], setting.arms[b], distance, without="no curve, or one that does not fall"),
            len(pairs),
            threshold=rule.max_distance,
            sense="below",
            unit="1",
        )
        for a, b in pairs
    ]
    return all_of(setting.label, parts)


def normalised(curve: pd.Series) -> pd.Series:
    """Return (L − L_end) / (L_0 − L_end), empty unless the start is above the end."""
    if len(curve) < 2 or not curve.iloc[0] > curve.iloc[-1]:
        return pd.Series(dtype=float)
    return (curve - curve.iloc[-1]) / (curve.iloc[0] - curve.iloc[-1])


def curve_distance(first: pd.Series, second: pd.Series, min_evaluations: int) -> float:
    """Return the largest distance at the steps that both curves have, NaN if those are too few."""
    common = first.index.intersection(second.index)
    if len(common) < min_evaluations:
        return NAN
    return float(np.abs(first.loc[common] - second.loc[common]).max())


def judge_finite(evidence: Evidence) -> Finding:
    """Judge C5: the well-specified model ends with a worse validation NLL than some smaller model."""
    rule = evidence.rules.C5
    settings, skipped = evidence.degree_settings([rule.degree], rule.smaller, 1)
    findings = []
    for setting in settings:
        smaller = [degree for degree in rule.smaller if degree in setting.arms]
        parts = [
            _difference(evidence, setting, rule.degree, degree, "val_nll_nats", len(smaller)) for degree in smaller
        ]
        findings.append(any_of(setting.label, parts))
    return agreement("C5", findings, skipped, f"{rule.degree} and {' or '.join(rule.smaller)} {NEEDS}")


def judge_harm(evidence: Evidence) -> Finding:
    """Judge C6: overfitting harms the validation NLL more than the Fréchet distance."""
    rule = evidence.rules.C6
    settings, skipped = evidence.degree_settings([rule.degree], [])
    findings = []
    for setting in settings:
        difference, larger = _harm(evidence, setting)
        if difference.verdict != "undecided" and larger.verdict != "supported":
            skipped.append(f"{setting.label} has not overfitted: of its larger harm, {larger.why}")
        else:
            findings.append(difference)
    return agreement("C6", findings, skipped, f"{rule.degree} {NEEDS}, and overfitted")


def _harm(evidence: Evidence, setting: Setting) -> tuple[Finding, Finding]:
    """Compare the difference of the two harms, and the larger of them, with the margin."""
    rule, arm = evidence.rules.C6, setting.arms[evidence.rules.C6.degree]
    columns = ("val_nll_nats", evidence.rules.general.frechet)

    def harms(run: Run) -> list[float]:
        return [harm(evidence.curve(run, column), rule.min_evaluations) for column in columns]

    def against_margin(label: str, measure: Callable[[Run], float]) -> Finding:
        without = f"no harm from fewer than {rule.min_evaluations} evaluations, or a start that is the best"
        sample = each(arm, measure, without=without)
        return evidence.compare(label, sample, threshold=rule.margin, unit="1")

    difference = against_margin(setting.label, lambda run: -float(np.diff(harms(run))[0]))
    return difference, against_margin("larger harm", lambda run: float(np.max(harms(run))))


def harm(curve: pd.Series, min_evaluations: int) -> float:
    """Return (end − best) / (start − best), the share of the gain that is lost again; NaN if nothing was gained."""
    if len(curve) < min_evaluations:
        return NAN
    best = curve.min()
    gain = float(curve.iloc[0] - best)
    return float(curve.iloc[-1] - best) / gain if gain > 0 else NAN
