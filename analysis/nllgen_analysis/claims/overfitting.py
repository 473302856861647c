"""C6: overfitting harms the validation NLL more than the Fréchet distance. The same in every version of the rules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nllgen_analysis.claims.base_rules import AnyRules
from nllgen_analysis.claims.curves import harm
from nllgen_analysis.claims.evidence import Evidence, Run, Setting, each
from nllgen_analysis.claims.verdict import Finding, agreement

NEEDS = "trained by NLL on a finite synthetic set"


def judge_harm(evidence: Evidence[AnyRules]) -> Finding:
    """Judge C6: overfitting harms the validation NLL more than the Fréchet distance."""
    rule = evidence.rules.C6
    settings, skipped = evidence.degree_settings([rule.degree], [])
    findings = []
    for setting in settings:
        difference, larger = _harm(evidence, setting)
        if difference.verdict != "undecided" and larger.verdict != "supported":
            skipped.append(f"{setting.label} has not overfitted: of its larger harm, {larger.why}")
        else:
            findings.append(difference)
    return agreement("C6", findings, skipped, f"{rule.degree} {NEEDS}, and overfitted")


def _harm(evidence: Evidence[AnyRules], setting: Setting) -> tuple[Finding, Finding]:
    """Compare the difference of the two harms, and the larger of them, with the margin."""
    rule, arm = evidence.rules.C6, setting.arms[evidence.rules.C6.degree]
    columns = ("val_nll_nats", evidence.rules.general.frechet)

    def harms(run: Run) -> list[float]:
        return [harm(evidence.curve(run, column), rule.min_evaluations) for column in columns]

    def against_margin(label: str, measure: Callable[[Run], float]) -> Finding:
        without = f"no harm from fewer than {rule.min_evaluations} evaluations, or a start that is the best"
        sample = each(arm, measure, without=without)
        return evidence.compare(label, sample, threshold=rule.margin, unit="1")

    difference = against_margin(setting.label, lambda run: -float(np.diff(harms(run))[0]))
    return difference, against_margin("larger harm", lambda run: float(np.max(harms(run))))
