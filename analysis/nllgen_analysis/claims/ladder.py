"""C3: the ladder of degrees. The same in every version but for what a diverged run counts as."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from nllgen_analysis.claims.base_rules import AnyRules
from nllgen_analysis.claims.evidence import Evidence, Setting
from nllgen_analysis.claims.overfitting import NEEDS
from nllgen_analysis.claims.verdict import Finding, agreement, all_of

Difference = Callable[[Setting, str, str, str, int], Finding]


def judge_steps(evidence: Evidence[AnyRules], difference: Difference) -> Finding:
    """Judge C3: the degrees reach different training NLLs, in the registered order."""
    rule = evidence.rules.C3
    required = [degree for degree in rule.ladder if degree not in rule.optional]
    settings, skipped = evidence.degree_settings(required, rule.optional)
    findings = []
    for setting in settings:
        steps = list(itertools.pairwise(degree for degree in rule.ladder if degree in setting.arms))
        parts = [difference(setting, *step, "train_nll_nats", len(steps)) for step in steps]
        findings.append(all_of(setting.label, parts))
    return agreement("C3", findings, skipped, f"{', '.join(required)} {NEEDS}")
