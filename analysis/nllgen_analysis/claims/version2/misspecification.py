"""C3, C4 and C5: effects of misspecification and of finite data on training by likelihood."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from nllgen_analysis.claims.curves import curve_distance, normalised
from nllgen_analysis.claims.evidence import Evidence, Run, Setting
from nllgen_analysis.claims.ladder import judge_steps
from nllgen_analysis.claims.overfitting import NEEDS
from nllgen_analysis.claims.verdict import Finding, agreement, all_of, any_of, by_weights
from nllgen_analysis.claims.version2.rules import Rules
from nllgen_analysis.claims.version2.values import INF, at_best, at_end, best_step, difference, log_kl, sample


def judge_ladder(evidence: Evidence[Rules]) -> Finding:
    """Judge C3."""

    def step(setting: Setting, upper: str, lower: str, column: str, num_parts: int) -> Finding:
        arms = {str(degree): arm for degree, arm in setting.arms.items()}
        values = difference(arms[upper], arms[lower], lambda run: at_end(evidence, run, column))
        return evidence.compare(f"{upper} − {lower}", values, num_parts)

    return judge_steps(evidence, step)


def judge_convergence(evidence: Evidence[Rules]) -> Finding:
    """Judge C4: normalised training curves of all degrees lie close to each other, apart from memorisation."""
    rule = evidence.rules.C4
    required = [degree for degree in rule.degrees if degree not in rule.optional]
    settings, skipped = evidence.degree_settings(required, rule.optional, sizes=("finite", "fresh"))
    findings = [_convergence(evidence, setting) for setting in settings]
    needs = f"{', '.join(required)} trained by NLL on synthetic data"
    return agreement("C4", findings, skipped, needs)


def _convergence(evidence: Evidence[Rules], setting: Setting) -> Finding:
    rule = evidence.rules.C4
    pairs = list(itertools.combinations([degree for degree in rule.degrees if degree in setting.arms], 2))
    parts = [
        evidence.compare(
            f"{a} and {b}",
            sample(
                [setting.arms[a], setting.arms[b]],
                lambda first, second: curves_apart(evidence, first, second),
                without=f"fewer than {rule.min_evaluations} evaluations that count, or a curve that does not fall",
            ),
            len(pairs),
            threshold=rule.max_distance,
            sense="below",
            unit="1",
        )
        for a, b in pairs
    ]
    return all_of(setting.label, parts)


def curves_apart(evidence: Evidence[Rules], first: Run, second: Run) -> float:
    """Return the largest distance of two normalised curves; on finite data up to the earlier best validation step."""
    if "diverged" in (first.outcome, second.outcome):
        return INF
    last_step = INF
    if first.cell.data.num_train != "fresh":
        last_step = min(best_step(evidence, first), best_step(evidence, second))
    curves = [evidence.curve(run, "train_nll_nats") for run in (first, second)]
    shapes = [normalised(curve[curve.index <= last_step]) for curve in curves]
    return curve_distance(shapes[0], shapes[1], evidence.rules.C4.min_evaluations)


def judge_finite(evidence: Evidence[Rules]) -> Finding:
    """Judge C5: the well-specified model is worse on validation than some smaller model, at the end and at its best."""
    rule = evidence.rules.C5
    settings, skipped = evidence.degree_settings([rule.degree], rule.smaller, 1)
    findings = []
    for setting in settings:
        last = _some_worse(evidence, setting, lambda run: at_end(evidence, run, "kl_nats"))
        best = _some_worse(evidence, setting, lambda run: at_best(evidence, run, "kl_nats"))
        findings.append(by_weights(setting.label, last, best))
    return agreement("C5", findings, skipped, f"{rule.degree} and {' or '.join(rule.smaller)} {NEEDS}")


def _some_worse(evidence: Evidence[Rules], setting: Setting, kl: Callable[[Run], float]) -> Finding:
    rule = evidence.rules.C5
    smaller = [degree for degree in rule.smaller if degree in setting.arms]
    parts = [
        evidence.compare(
            f"{rule.degree} against {degree}",
            difference(setting.arms[rule.degree], setting.arms[degree], lambda run: log_kl(kl(run))),
            len(smaller),
            unit="ln of the ratio of KLs",
        )
        for degree in smaller
    ]
    return any_of(setting.label, parts)
