"""C7: over-parameterised models beside the well-specified one, in four parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from nllgen_analysis.claims.degrees import NEEDS, normalised
from nllgen_analysis.claims.evidence import Arm, Evidence, Run, Setting
from nllgen_analysis.claims.pairing import pair_up
from nllgen_analysis.claims.stability import less_stable
from nllgen_analysis.claims.verdict import NAN, Finding, Verdict, agreement, all_of

Judge = Callable[[Evidence, str, Arm, Arm, int], Finding]


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
