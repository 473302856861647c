"""C7: the combination of its four parts, each judged for every larger degree in every setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from nllgen_analysis.claims.base_rules import AnyRules, Claim, LargerModels
from nllgen_analysis.claims.evidence import Arm, Evidence, Setting
from nllgen_analysis.claims.overfitting import NEEDS
from nllgen_analysis.claims.verdict import NAN, Finding, Verdict, agreement, all_of

Judge = Callable[[str, Arm, Arm, int], Finding]


def judge_parts(evidence: Evidence[AnyRules], rule: LargerModels, judges: Mapping[str, Judge]) -> Verdict:
    """Judge C7 by the judges of its parts, named by their letters."""
    settings, skipped = evidence.degree_settings([rule.degree], rule.larger, 1)
    subclaims = tuple(_subclaim(rule, letter, judge, settings, skipped) for letter, judge in judges.items())
    together = all_of("C7", [replace(sub.finding, label=f"{sub.id} {sub.statement}") for sub in subclaims])
    # the effects of the parts have different units: the whole has no effect
    why = "; ".join(f"{sub.id} {sub.statement}: {sub.finding.text}" for sub in subclaims)
    qualifier = next((sub.finding.qualifier for sub in subclaims if sub.finding.qualifier), None)
    together = replace(together, why=why, effect=NAN, low=NAN, high=NAN, num_seeds=0)
    together = replace(together, qualifier=qualifier if together.verdict == "supported" else None)
    return Verdict("C7", rule.statement, rule.rule_text, together, subclaims)


def _subclaim(
    rule: LargerModels, letter: str, judge: Judge, settings: Sequence[Setting], skipped: Sequence[str]
) -> Verdict:
    findings = []
    for setting in settings:
        well = setting.arms[rule.degree]
        larger = [degree for degree in rule.larger if degree in setting.arms]
        parts = [judge(f"{degree} against {rule.degree}", setting.arms[degree], well, len(larger)) for degree in larger]
        findings.append(agreement(setting.label, parts, (), "a larger degree", "degrees"))
    claim, id = getattr(rule, letter), f"C7{letter}"
    assert isinstance(claim, Claim)
    whole = agreement(id, findings, skipped, f"{rule.degree} and {' or '.join(rule.larger)} {NEEDS}")
    return Verdict(id, claim.statement, claim.rule_text, whole)
