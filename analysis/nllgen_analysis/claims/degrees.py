"""C3 to C7: effects of misspecification, of finite data and of over-parameterisation on training by likelihood."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from nllgen_analysis.claims.adversarial import less_stable
from nllgen_analysis.claims.evidence import Arm, Evidence, Run, Setting, each, pair_up
from nllgen_analysis.claims.verdict import NAN, Finding, Verdict, agreement, all_of, any_of

Judge = Callable[[Evidence, str, Arm, Arm, int], Finding]
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


def judge_overparameterised(evidence: Evidence) -> Verdict:
    """Judge C7 and its parts a to d."""
    rule = evidence.rules.C7
    settings, skipped = evidence.degree_settings([rule.degree], rule.larger, 1)
    judges: dict[str, Judge] = {"a": slower, "b": less_stable, "c": overfits_more, "d": worse_images}
    subclaims = tuple(_subclaim(evidence, letter, judge, settings, skipped) for letter, judge in judges.items())
    together = all_of("C7", [replace(sub.finding, label=f"{sub.id} {sub.statement}") for sub in subclaims])
    # the effects of the parts have different units: the whole has no effect
    why = "; ".join(f"{sub.id} {sub.statement}: {sub.finding.verdict}" for sub in subclaims)
    together = replace(together, why=why, effect=NAN, low=NAN, high=NAN, num_seeds=0)
    return Verdict("C7", rule.statement, rule.rule_text, together, subclaims)


def _subclaim(
    evidence: Evidence, letter: str, judge: Judge, settings: Sequence[Setting], skipped: Sequence[str]
) -> Verdict:
    rule = evidence.rules.C7
    findings = []
    for setting in settings:
        well = setting.arms[rule.degree]
        larger = [degree for degree in rule.larger if degree in setting.arms]
        parts = [
            judge(evidence, f"{degree} against {rule.degree}", setting.arms[degree], well, len(larger))
            for degree in larger
        ]
        findings.append(agreement(setting.label, parts, (), "a larger degree", "degrees"))
    claim, id = getattr(rule, letter), f"C7{letter}"
    whole = agreement(id, findings, skipped, f"{rule.degree} and {' or '.join(rule.larger)} {NEEDS}")
    return Verdict(id, claim.statement, claim.rule_text, whole)


def slower(evidence: Evidence, label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """Judge C7a: the larger model takes longer to make the registered share of its improvement."""

    def log_ratio(first: Run, second: Run) -> float:
        if evidence.text(first, "device") != evidence.text(second, "device"):
            return NAN
        times = time_to(evidence, first), time_to(evidence, second)
        return math.log(times[0] / times[1]) if min(times) > 0 else NAN

    sample = pair_up(larger, well, log_ratio, without="no time, or another device")
    return evidence.compare(label, sample, num_parts, unit="ln of the ratio of seconds")


def time_to(evidence: Evidence, run: Run) -> float:
    """Return the seconds of training until the training NLL has made the registered share of its improvement."""
    curve = normalised(evidence.curve(run, "train_nll_nats"))
    reached = curve[curve <= 1 - evidence.rules.C7.a.progress]
    return float(reached.index[0]) * evidence.number(run, "seconds_per_step") if len(reached) else NAN


def overfits_more(evidence: Evidence, label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """Judge C7c: the larger model has the larger gap between validation and training NLL."""

    def gap(run: Run) -> float:
        return evidence.last(run, "val_nll_nats") - evidence.last(run, "train_nll_nats")

    sample = pair_up(larger, well, lambda a, b: gap(a) - gap(b))
    return evidence.compare(label, sample, num_parts)


def worse_images(evidence: Evidence, label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """Judge C7d: the larger model's Fréchet distance is larger by more than a number of floors."""
    general = evidence.rules.general

    def in_floors(first: Run, second: Run) -> float:
        floor = evidence.final(second, general.floor)
        difference = evidence.final(first, general.frechet) - evidence.final(second, general.frechet)
        return difference / floor if floor > 0 else NAN

    sample = pair_up(larger, well, in_floors, without="no Fréchet distance or no floor")
    return evidence.compare(label, sample, num_parts, threshold=evidence.rules.C7.d.margin_floors, unit="floors")
