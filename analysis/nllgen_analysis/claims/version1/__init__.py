"""Version 1 of the rules, for studies that registered it (nllgen/study/claims_v1.toml)."""

from __future__ import annotations

from nllgen_analysis.claims.base_rules import verdicts_of
from nllgen_analysis.claims.evidence import Evidence
from nllgen_analysis.claims.overfitting import judge_harm
from nllgen_analysis.claims.verdict import Verdict
from nllgen_analysis.claims.version1.adversarial import judge_nash, judge_quality, judge_stability
from nllgen_analysis.claims.version1.degrees import (
    judge_convergence,
    judge_finite,
    judge_ladder,
    judge_overparameterised,
)
from nllgen_analysis.claims.version1.nll_against_frechet import judge_nll_against_frechet
from nllgen_analysis.claims.version1.rules import load_rules
from nllgen_analysis.frames import Frames


def judge_version1(frames: Frames) -> tuple[Verdict, ...]:
    """Judge C0 to C8."""
    rules = load_rules()
    evidence = Evidence(frames, rules)
    whole = {
        "C0": judge_stability(evidence),
        "C1": judge_quality(evidence),
        "C2": judge_nash(evidence),
        "C3": judge_ladder(evidence),
        "C4": judge_convergence(evidence),
        "C5": judge_finite(evidence),
        "C6": judge_harm(evidence),
        "C8": judge_nll_against_frechet(evidence),
    }
    verdicts = verdicts_of(rules, whole)
    return (*verdicts[:-1], judge_overparameterised(evidence), verdicts[-1])
