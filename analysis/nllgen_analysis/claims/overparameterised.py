"""C7: over-parameterised models beside the well-specified one, in four parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from nllgen_analysis.claims.degrees import NEEDS, normalised
from nllgen_analysis.claims.evidence import Arm, Evidence, Run
from nllgen_analysis.claims.pairing import pair_up
from nllgen_analysis.claims.stability import less_stable
from nllgen_analysis.claims.verdict import NAN, Finding, Verdict, agreement, all_of, compare

Part = Callable[[Evidence, str, Arm, Arm, int], Finding]


def judge_over(evidence: Evidence) -> Verdict:
    """C7 and its parts a to d."""
    rule = evidence.rules.C7
    settings, skipped = evidence.degree_settings([rule.degree], rule.larger, 1)
    parts: dict[str, Part] = {"a": slower, "b": less_stable, "c": overfits_more, "d": worse_images}
    subclaims = []
    for letter, judge in parts.items():
        found = []
        for setting in settings:
            larger = [degree for degree in rule.larger if degree in setting.arms]
            each = [
                judge(evidence, f"{degree} against {rule.degree}", setting.arms[degree], setting.arms[rule.degree],
                      len(larger))
                for degree in larger
            ]  # fmt: skip
            found.append(agreement(setting.label, each, (), "a larger degree", "degrees"))
        claim = getattr(rule, letter)
        whole = agreement(f"C7{letter}", found, skipped, f"{rule.degree} and {' or '.join(rule.larger)} {NEEDS}")
        subclaims.append(Verdict(f"C7{letter}", claim.statement, claim.told, whole))
    together = all_of("C7", [replace(sub.finding, label=f"{sub.id} {sub.statement}") for sub in subclaims])
    # the four effects have four units: the whole has none, and their reasons are told beside them
    why = "; ".join(f"{sub.id} {sub.statement}: {sub.finding.verdict}" for sub in subclaims)
    together = replace(together, why=why, effect=NAN, low=NAN, high=NAN, num_seeds=0)
    return Verdict("C7", rule.statement, rule.told, together, tuple(subclaims))


def slower(evidence: Evidence, label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """C7a."""

    def log_ratio(first: Run, second: Run) -> float:
        if evidence.text(first, "device") != evidence.text(second, "device"):
            return NAN
        times = time_to(evidence, first), time_to(evidence, second)
        return math.log(times[0] / times[1]) if min(times) > 0 else NAN

    sample = pair_up(larger, well, log_ratio, without="no time, or another device")
    return compare(label, sample, confidence=evidence.confidence(num_parts), min_seeds=evidence.min_seeds,
                   unit="ln of the ratio of seconds")  # fmt: skip


def time_to(evidence: Evidence, run: Run) -> float:
    """Seconds of training until the training NLL has made the registered share of its improvement."""
    curve = normalised(evidence.curve(run, "train_nll_nats"))
    reached = curve[curve <= 1 - evidence.rules.C7.a.progress]
    return float(reached.index[0]) * evidence.number(run, "seconds_per_step") if len(reached) else NAN


def overfits_more(evidence: Evidence, label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """C7c."""

    def gap(run: Run) -> float:
        return evidence.last(run, "val_nll_nats") - evidence.last(run, "train_nll_nats")

    sample = pair_up(larger, well, lambda a, b: gap(a) - gap(b))
    return compare(label, sample, confidence=evidence.confidence(num_parts), min_seeds=evidence.min_seeds)


def worse_images(evidence: Evidence, label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """C7d."""
    general = evidence.rules.general

    def in_floors(first: Run, second: Run) -> float:
        floor = evidence.final(second, general.floor)
        difference = evidence.final(first, general.frechet) - evidence.final(second, general.frechet)
        return difference / floor if floor > 0 else NAN

    sample = pair_up(larger, well, in_floors, without="no Fréchet distance or no floor")
    return compare(label, sample, confidence=evidence.confidence(num_parts), min_seeds=evidence.min_seeds,
                   threshold=evidence.rules.C7.d.margin_floors, unit="floors")  # fmt: skip
