"""C8 of version 1: differences in nats and in Fréchet distance."""

from __future__ import annotations

from functools import partial

from nllgen_analysis.claims.evidence import Arm, Evidence, pair_up
from nllgen_analysis.claims.opposites import Differences, judge_pairs, pair_label
from nllgen_analysis.claims.verdict import Finding
from nllgen_analysis.claims.version1.rules import Rules


def judge_nll_against_frechet(evidence: Evidence[Rules]) -> Finding:
    """Judge C8."""
    return judge_pairs(evidence, partial(_differences, evidence))


def _differences(evidence: Evidence[Rules], first: Arm, second: Arm, num_pairs: int) -> Differences:
    label = pair_label(first, second)

    def difference(name: str, column: str, unit: str) -> Finding:
        sample = pair_up(first, second, lambda a, b: evidence.final(a, column) - evidence.final(b, column))
        return evidence.compare(f"{label}: {name}", sample, 2 * num_pairs, unit=unit)

    frechet = evidence.rules.general.frechet
    return Differences(difference("NLL", "test_nll_nats", "nats"), difference("Fréchet", frechet, "1"))
