"""Instability as C0 and C7b mean it: divergence, or scatter of the Fréchet distance late in training."""

from __future__ import annotations

import math
from dataclasses import replace

from nllgen_analysis.claims.evidence import Arm, Evidence, Run
from nllgen_analysis.claims.pairing import common_seeds, pair_up
from nllgen_analysis.claims.verdict import NAN, Finding, compare, undecided
from nllgen_analysis.text import number


def less_stable(evidence: Evidence, label: str, first: Arm, second: Arm, num_parts: int = 1) -> Finding:
    """Whether the first arm is less stable than the second (rule C0)."""
    rule = evidence.rules.C0
    pairs = [(first.by_seed[seed], second.by_seed[seed]) for seed in common_seeds(first, second)]
    present = [pair for pair in pairs if all(run.outcome != "missing" for run in pair)]
    ids = tuple(run.id for pair in pairs for run in pair)
    if len(present) < evidence.min_seeds:
        why = f"{len(present)} of {len(pairs)} planned pairs have results, {evidence.min_seeds} are needed"
        return undecided(label, why, ids)
    lost, other = (sum(pair[i].outcome == "diverged" for pair in present) for i in (0, 1))
    if 2 * lost > len(present) and lost > other:
        share = lost / len(present)
        why = f"{lost} of {len(present)} runs diverged, of those they are compared with {other}"
        return Finding(label, "supported", why, share, unit="share diverged", num_seeds=len(present), cells=ids)
    scatter = pair_up(
        first,
        second,
        lambda a, b: _log_ratio(late_scatter(evidence, a), late_scatter(evidence, b)),
        without=f"no scatter of {rule.min_evaluations} evaluations in the last third",
    )
    finished = sum(all(run.outcome == "done" for run in pair) for pair in present)
    needed = max(rule.min_finished, evidence.min_seeds - (len(present) - finished))
    found = compare(
        label, scatter, confidence=evidence.confidence(num_parts), min_seeds=needed, unit="ln of the ratio of SDs"
    )
    found = replace(
        found, why=f"{found.why}; SD ratio {number(math.exp(found.effect))}" if scatter.values else found.why
    )
    if found.verdict == "refuted" and lost:
        return replace(found, verdict="undecided", why=f"{found.why}; but {lost} of {len(present)} runs diverged")
    return found


def late_scatter(evidence: Evidence, run: Run) -> float:
    """Standard deviation of the Fréchet distance over the evaluations in the last third of training."""
    curve = evidence.curve(run, evidence.rules.general.frechet)
    late = curve[curve.index >= 2 * run.cell.paradigm.steps / 3]
    return float(late.std(ddof=1)) if len(late) >= evidence.rules.C0.min_evaluations else NAN


def _log_ratio(first: float, second: float) -> float:
    """ln(first / second); NaN where one of them is 0: no scatter has no logarithm."""
    return math.log(first / second) if first > 0 and second > 0 else NAN
