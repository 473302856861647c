"""C7: larger models than the truth are slower, less stable, overfit more and give worse images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from nllgen_analysis.claims.curves import step_of_progress
from nllgen_analysis.claims.evidence import Arm, Evidence, Run
from nllgen_analysis.claims.larger import judge_parts
from nllgen_analysis.claims.verdict import NAN, Finding, Verdict, by_weights, undecided
from nllgen_analysis.claims.version2.rules import Rules
from nllgen_analysis.claims.version2.values import (
    INF,
    at_best,
    at_end,
    num_evaluations,
    on_test,
    sample,
    signed_difference,
)
from nllgen_analysis.statistics import holm, log


def judge_overparameterised(evidence: Evidence[Rules]) -> Verdict:
    """Judge C7 and its parts a to d; correct the p-values of the parts by Holm over the four."""
    judges: dict[str, Callable[[Evidence[Rules], str, Arm, Arm, int], Finding]] = {
        "a": slower,
        "b": less_stable,
        "c": overfits_more,
        "d": worse_images,
    }
    verdict = judge_parts(evidence, evidence.rules.C7, {key: partial(judge, evidence) for key, judge in judges.items()})
    corrected = holm([sub.finding.p_value for sub in verdict.subclaims])
    subclaims = tuple(replace(sub, p_holm=p_holm) for sub, p_holm in zip(verdict.subclaims, corrected, strict=True))
    if verdict.finding.verdict == "refuted":  # by one of four
        p_value = min(sub.p_holm for sub in subclaims if sub.finding.verdict == "refuted")
        verdict = replace(verdict, finding=replace(verdict.finding, p_value=p_value))
    return replace(verdict, subclaims=subclaims)


def slower(evidence: Evidence[Rules], label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """Judge C7a: the larger model takes longer to make the registered share of its improvement."""

    def log_ratio(first: Run, second: Run) -> float:
        devices = {evidence.text(run, "device") for run in (first, second) if run.outcome == "done"}
        return log(_time(evidence, first)) - log(_time(evidence, second)) if len(devices) <= 1 else NAN

    values = sample([larger, well], log_ratio, without="no time, or another device")
    return evidence.compare(label, values, num_parts, unit="ln of the ratio of seconds")


def _time(evidence: Evidence[Rules], run: Run) -> float:
    """Return the seconds of training until the registered share of the improvement, ∞ for a diverged run."""
    if run.outcome == "diverged":
        return INF
    step = step_of_progress(evidence.curve(run, "train_nll_nats"), evidence.rules.C7.a.progress)
    return step * evidence.number(run, "seconds_per_step")


def less_stable(evidence: Evidence[Rules], label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """Judge C7b: the larger model's Fréchet distance changes more between late evaluations."""
    rule, count = evidence.rules.C7.b, min(num_evaluations(arm.cell) for arm in (larger, well))
    if count < rule.min_evaluations:
        why = f"{count} evaluations are planned, {rule.min_evaluations} are needed"
        return undecided(label, why, (*larger.ids, *well.ids))

    def log_ratio(first: Run, second: Run) -> float:
        return _unrest(evidence, first) - _unrest(evidence, second)

    values = sample([larger, well], log_ratio)
    return evidence.compare(
        label, values, num_parts, threshold=math.log(rule.max_ratio), unit="ln of the ratio of late changes"
    )


def _unrest(evidence: Evidence[Rules], run: Run) -> float:
    """Return ln of the late change of ln F; ∞ for a run that diverged or never changes."""
    curve = evidence.curve(run, evidence.rules.general.frechet)
    if run.outcome == "diverged":
        return INF
    change = successive_change(curve[curve.index >= run.cell.paradigm.steps / 2])
    return INF if change == 0 else log(change)


def successive_change(curve: pd.Series) -> float:
    """Return the root mean squared successive difference of the logarithms, NaN for fewer than two values."""
    if len(curve) < 2 or not (curve > 0).all():
        return NAN
    return float(np.sqrt(np.mean(np.diff(np.log(curve)) ** 2)))


def overfits_more(evidence: Evidence[Rules], label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """Judge C7c: the larger model has the larger gap between validation and training NLL."""

    def compared(value: Callable[[Evidence[Rules], Run, str], float]) -> Finding:
        def gap(run: Run) -> float:
            if run.outcome == "diverged":
                return INF
            return value(evidence, run, "val_nll_nats") - value(evidence, run, "train_nll_nats")

        return evidence.compare(label, signed_difference(larger, well, gap), num_parts, unit="signed ln of nats")

    return by_weights(label, compared(at_end), compared(at_best))


def worse_images(evidence: Evidence[Rules], label: str, larger: Arm, well: Arm, num_parts: int) -> Finding:
    """Judge C7d: the larger model's Fréchet distance is larger by more than floors, with the last and best weights."""
    general, margin = evidence.rules.general, evidence.rules.C7.d.margin_floors

    def compared(weights: str) -> Finding:
        def beyond_floors(first: Run, second: Run) -> float:
            floor = on_test(evidence, second, general.floor, weights)
            least = on_test(evidence, second, general.frechet, weights) + margin * floor
            return log(on_test(evidence, first, general.frechet, weights)) - log(least)

        values = sample([larger, well], beyond_floors, without="no Fréchet distance or no floor")
        return evidence.compare(label, values, num_parts, unit="ln of the ratio")

    return by_weights(label, compared("last"), compared("best"))
