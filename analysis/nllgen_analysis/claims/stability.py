"""Instability in the sense of C0 and C7b: divergence, or scatter of the Fréchet distance late in training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from nllgen_analysis.claims.evidence import Arm, Evidence, Run
from nllgen_analysis.claims.pairing import pair_up, pairs_of
from nllgen_analysis.claims.verdict import NAN, Finding, compare, undecided
from nllgen_analysis.text import number

Pair = tuple[Run, Run]


def less_stable(evidence: Evidence, label: str, first: Arm, second: Arm, num_parts: int = 1) -> Finding:
    """Judge whether the first arm is less stable than the second (rule C0).

    Divergence decides if most runs of the first arm diverged and fewer of the second; else the scatter does.
    """
    pairs = pairs_of(first, second)
    present = [pair for pair in pairs if all(run.outcome != "missing" for run in pair)]
    ids = tuple(run.id for pair in pairs for run in pair)
    if len(present) < evidence.min_seeds:
        why = f"{len(present)} of {len(pairs)} planned pairs have results, {evidence.min_seeds} are needed"
        return undecided(label, why, ids)
    num_first, num_second = (sum(pair[i].outcome == "diverged" for pair in present) for i in (0, 1))
    if 2 * num_first > len(present) and num_first > num_second:
        why = f"{num_first} of {len(present)} runs diverged, of those they are compared with {num_second}"
        share = num_first / len(present)
        return Finding(label, "supported", why, share, unit="share diverged", num_seeds=len(present), cells=ids)
    finding = _compare_scatter(evidence, label, first, second, present, num_parts)
    if finding.verdict == "refuted" and num_first:
        why = f"{finding.why}; but {num_first} of {len(present)} runs diverged"
        return replace(finding, verdict="undecided", why=why)
    return finding


def _compare_scatter(
    evidence: Evidence, label: str, first: Arm, second: Arm, present: Sequence[Pair], num_parts: int
) -> Finding:
    """Compare the late scatter; each pair that lost a run to divergence reduces the number of pairs that is needed."""
    rule = evidence.rules.C0
    sample = pair_up(
        first,
        second,
        lambda a, b: _log_ratio(late_scatter(evidence, a), late_scatter(evidence, b)),
        without=f"no scatter of {rule.min_evaluations} evaluations in the last third",
    )
    num_lost = sum(any(run.outcome != "done" for run in pair) for pair in present)
    finding = compare(
        label, sample, confidence=evidence.confidence(num_parts), unit="ln of the ratio of SDs",
        min_seeds=max(rule.min_finished, evidence.min_seeds - num_lost),
    )  # fmt: skip
    if not sample.values:
        return finding
    return replace(finding, why=f"{finding.why}; SD ratio {number(math.exp(finding.effect))}")


def late_scatter(evidence: Evidence, run: Run) -> float:
    """Return the standard deviation of the Fréchet distance over the evaluations in the last third of training."""
    curve = evidence.curve(run, evidence.rules.general.frechet)
    late = curve[curve.index >= 2 * run.cell.paradigm.steps / 3]
    return float(late.std(ddof=1)) if len(late) >= evidence.rules.C0.min_evaluations else NAN


def _log_ratio(first: float, second: float) -> float:
    """Return ln(first / second), NaN unless both are positive."""
    return math.log(first / second) if first > 0 and second > 0 else NAN
