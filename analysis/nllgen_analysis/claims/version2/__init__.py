"""Version 2 of the rules, which studies register now (nllgen/study/claims.toml)."""

from __future__ import annotations

from dataclasses import replace

from nllgen_analysis.claims.base_rules import verdicts_of
from nllgen_analysis.claims.evidence import Evidence
from nllgen_analysis.claims.overfitting import judge_harm
from nllgen_analysis.claims.verdict import Verdict
from nllgen_analysis.claims.version2.equilibrium import judge_nash
from nllgen_analysis.claims.version2.misspecification import judge_convergence, judge_finite, judge_ladder
from nllgen_analysis.claims.version2.overparameterised import judge_overparameterised
from nllgen_analysis.claims.version2.quality import judge_quality
from nllgen_analysis.claims.version2.relation import judge_nll_against_frechet
from nllgen_analysis.claims.version2.rules import load_rules
from nllgen_analysis.claims.version2.stability import judge_stability
from nllgen_analysis.frames import Frames
from nllgen_analysis.statistics import holm


def judge_version2(frames: Frames) -> tuple[Verdict, ...]:
    """Judge C0 to C8, and correct their p-values by Holm."""
    rules = load_rules()
    evidence = Evidence(frames, rules)
    whole = {
        "C1": judge_quality(evidence),
        "C2": judge_nash(evidence),
        "C3": judge_ladder(evidence),
        "C4": judge_convergence(evidence),
        "C5": judge_finite(evidence),
        "C6": judge_harm(evidence),
        "C8": judge_nll_against_frechet(evidence),
    }
    verdicts = verdicts_of(rules, whole)
    every = (judge_stability(evidence), *verdicts[:-1], judge_overparameterised(evidence), verdicts[-1])
    corrected = holm([verdict.finding.p_value for verdict in every])
    return tuple(replace(verdict, p_holm=p_holm) for verdict, p_holm in zip(every, corrected, strict=True))
