"""C3, C4, C5 and C7 of version 1: effects of degrees and of finite data on training by likelihood."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

from nllgen_analysis.claims.curves import curve_distance, normalised, step_of_progress
from nllgen_analysis.claims.evidence import Arm, Evidence, Run, Setting, pair_up
from nllgen_analysis.claims.ladder import judge_steps
from nllgen_analysis.claims.larger import judge_parts
from nllgen_analysis.claims.overfitting import NEEDS
from nllgen_analysis.claims.verdict import NAN, Finding, Verdict, agreement, all_of, any_of
from nllgen_analysis.claims.version1.adversarial import less_stable
from nllgen_analysis.claims.version1.rules import Rules
from nllgen_analysis.statistics import log_ratio


def judge_ladder(evidence: Evidence[Rules]) -> Finding:
    """Judge C3."""
    return judge_steps(evidence, partial(_difference, evidence))


def _difference(
    evidence: Evidence[Rules], setting: Setting, upper: str, lower: str, column: str, num_parts: int
) -> Finding:
    """Compare the last values of two degrees; the claim is that the first one's is larger."""
    arms = {str(degree): arm for degree, arm in setting.arms.items()}
    sample = pair_up(arms[upper], arms[lower], lambda a, b: evidence.last(a, column) - evidence.last(b, column))
    return evidence.compare(f"{upper} − {lower}", sample, num_parts)


def judge_convergence(evidence: Evidence[Rules]) -> Finding:
    """Judge C4: normalised training curves of all degrees lie close to each other."""
    rule = evidence.rules.C4
    required = [degree for degree in rule.degrees if degree not in rule.optional]
    settings, skipped = evidence.degree_settings(required, rule.optional)
    findings = [_convergence(evidence, setting) for setting in settings]
    return agreement("C4", findings, skipped, f"{', '.join(required)} {NEEDS}")


def _convergence(evidence: Evidence[Rules], setting: Setting) -> Finding:
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


def judge_finite(evidence: Evidence[Rules]) -> Finding:
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


def judge_overparameterised(evidence: Evidence[Rules]) -> Verdict:
    """Judge C7 and its parts a to d."""
    judges: dict[str, Callable[[Evidence[Rules], str, Arm, Arm, int], Finding]] = {
        "a": slower,
        "b": less_stable,
        "c": overfits_more,
        "d": worse_images,
    }
    return judge_parts(
        evidence, evidence.rules.C7, {letter: partial(judge, evidence) for letter, judge in judges.items()}
    )


def slower(evidence: Evidence[Rules], label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """Judge C7a: the larger model takes longer to make the registered share of its improvement."""

    def ratio(first: Run, second: Run) -> float:
        if evidence.text(first, "device") != evidence.text(second, "device"):
            return NAN
        return log_ratio(time_to(evidence, first), time_to(evidence, second))

    sample = pair_up(larger, well, ratio, without="no time, or another device")
    return evidence.compare(label, sample, num_parts, unit="ln of the ratio of seconds")


def time_to(evidence: Evidence[Rules], run: Run) -> float:
    """Return the seconds of training until the training NLL has made the registered share of its improvement."""
    step = step_of_progress(evidence.curve(run, "train_nll_nats"), evidence.rules.C7.a.progress)
    return step * evidence.number(run, "seconds_per_step")


def overfits_more(evidence: Evidence[Rules], label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """Judge C7c: the larger model has the larger gap between validation and training NLL."""

    def gap(run: Run) -> float:
        return evidence.last(run, "val_nll_nats") - evidence.last(run, "train_nll_nats")

    sample = pair_up(larger, well, lambda a, b: gap(a) - gap(b))
    return evidence.compare(label, sample, num_parts)


def worse_images(evidence: Evidence[Rules], label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """Judge C7d: the larger model's Fréchet distance is larger by more than a number of floors."""
    general = evidence.rules.general

    def in_floors(first: Run, second: Run) -> float:
        floor = evidence.final(second, general.floor)
        difference = evidence.final(first, general.frechet) - evidence.final(second, general.frechet)
        return difference / floor if floor > 0 else NAN

    sample = pair_up(larger, well, in_floors, without="no Fréchet distance or no floor")
    return evidence.compare(label, sample, num_parts, threshold=evidence.rules.C7.d.margin_floors, unit="floors")
