"""C8: differences of NLL and of Fréchet distances, by logarithms."""

from __future__ import annotations

from nllgen_analysis.claims.evidence import Arm, Evidence
from nllgen_analysis.claims.opposites import Differences, judge_pairs, pair_label
from nllgen_analysis.claims.verdict import Finding
from nllgen_analysis.claims.version2.rules import Rules
from nllgen_analysis.claims.version2.values import difference, on_test, signed_difference
from nllgen_analysis.statistics import log


def judge_nll_against_frechet(evidence: Evidence[Rules]) -> Finding:
    """Judge C8."""
    frechet = evidence.rules.general.frechet

    def compare(first: Arm, second: Arm, num_pairs: int) -> Differences:
        label = pair_label(first, second)
        nll = signed_difference(first, second, lambda run: on_test(evidence, run, "test_nll_nats"))
        images = difference(first, second, lambda run: log(on_test(evidence, run, frechet)))
        return Differences(
            evidence.compare(f"{label}: NLL", nll, num_pairs, unit="signed ln of nats"),
            evidence.compare(f"{label}: Fréchet", images, num_pairs, unit="ln of the ratio"),
        )

    return judge_pairs(evidence, compare)
