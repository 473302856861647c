"""C0, C1 and C2 of version 1: NSGAN beside NLL, from a random start and from the Nash equilibrium."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nllgen.study.config import Cell
from nllgen_analysis.claims.evidence import Arm, Evidence, Run, data_label, pair_up, pairs_of
from nllgen_analysis.claims.partners import (
    Pair,
    best_of,
    controlled,
    finished_mean,
    is_nash_control,
    is_trained_flow,
    mean_of,
    two_sides,
    with_seeds,
)
from nllgen_analysis.claims.verdict import NAN, Finding, agreement, undecided
from nllgen_analysis.claims.version1.rules import Rules
from nllgen_analysis.statistics import log, log_ratio
from nllgen_analysis.text import number


def judge_stability(evidence: Evidence[Rules]) -> Finding:
    """Judge C0: training by NSGAN is less stable than by NLL, on the same data, flow and steps."""

    def key(cell: Cell) -> tuple[object, ...]:
        return cell.data, cell.flow, cell.precision, cell.paradigm.steps, cell.paradigm.eval_every

    findings: list[Finding] = []
    skipped: list[str] = []
    for likelihood, adversarial in two_sides(evidence.arms, key, evidence.is_plain_nsgan, skipped):
        nll, gan = (best_of(evidence, arms, ("raw",), finished_mean)[0] for arms in (likelihood, adversarial))
        for partner in with_seeds(evidence, gan, [nll], skipped):
            findings.append(less_stable(evidence, f"{gan.label} against {partner.label}", gan, partner))
    return agreement(
        "C0", findings, skipped, "plain NSGAN and NLL from a random start on the same data, flow and steps"
    )


def judge_quality(evidence: Evidence[Rules]) -> Finding:
    """Judge C1: NLL reaches about the Fréchet distance of NSGAN with the same flow on MNIST."""
    findings: list[Finding] = []
    skipped: list[str] = []

    def key(cell: Cell) -> tuple[object, ...]:
        return cell.data, cell.flow, cell.precision

    for likelihood, adversarial in two_sides(evidence.arms, key, evidence.is_plain_nsgan, skipped):
        cell = likelihood[0].cell
        if cell.data.source != "mnist":
            continue
        if len(likelihood) == len(adversarial):
            findings += _quality(evidence, likelihood, adversarial, skipped)
        else:
            counts = f"{len(likelihood)} configurations of NLL and {len(adversarial)} of NSGAN"
            skipped.append(f"{data_label(cell)}: unequal tuning budgets, {counts}")
    needs = "NLL and plain NSGAN of one flow on MNIST, equally many configurations each"
    return agreement("C1", findings, skipped, needs)


def _quality(
    evidence: Evidence[Rules], likelihood: Sequence[Arm], adversarial: Sequence[Arm], skipped: list[str]
) -> Iterator[Finding]:
    frechet, rule = evidence.rules.general.frechet, evidence.rules.C1
    nll, *_ = best_of(evidence, likelihood, ("raw",), finished_mean)
    gan, weights, _ = best_of(evidence, adversarial, ("raw", "ema"), finished_mean)
    for partner in with_seeds(evidence, nll, [gan], skipped):
        sample = pair_up(
            nll,
            partner,
            lambda a, b: log(evidence.final(a, frechet)) - log(evidence.final(b, frechet, weights)),
        )
        label, threshold = f"{nll.label} against {gan.label}", math.log(rule.max_ratio)
        finding = evidence.compare(label, sample, threshold=threshold, sense="below", unit="ln of the ratio")
        if sample.values:
            finding = replace(finding, why=f"{finding.why}; ratio {number(math.exp(finding.effect))}")
        same_data = [arm for arm in evidence.arms if arm.cell.data == gan.cell.data]
        controls = [arm for arm in same_data if arm.cell.dcgan is not None and evidence.is_plain_nsgan(arm.cell)]
        needed = "a DCGAN generator trained by plain NSGAN on the same data"
        yield controlled(evidence, finding, gan, controls, needed, finished_mean)


def judge_nash(evidence: Evidence[Rules]) -> Finding:
    """Judge C2: NSGAN leaves the truth that it starts at, further than NLL training of the same kind."""
    counted: list[Finding] = []
    others: list[Finding] = []
    skipped: list[str] = []
    for arm in evidence.arms:
        if not is_trained_flow(arm.cell, "truth") or arm.cell.paradigm.name == "nll":
            continue
        controls = [other for other in evidence.arms if is_nash_control(arm.cell, other.cell)]
        counts = evidence.is_plain_nsgan(arm.cell) and math.isclose(arm.cell.paradigm.lr, evidence.rules.C2.counted_lr)
        for control in with_seeds(evidence, arm, controls, skipped):
            (counted if counts else others).append(_nash(evidence, arm, control))
    needs = f"plain NSGAN at {evidence.rules.C2.counted_lr:g} and NLL from the truth, same data, optimiser and steps"
    finding = agreement("C2", counted, skipped, needs)
    not_counted = tuple(replace(other, label=f"{other.label} (not counted)") for other in others)
    return replace(finding, parts=(*finding.parts, *not_counted))


def _nash(evidence: Evidence[Rules], arm: Arm, control: Arm) -> Finding:
    """Compare the last KL with a multiple of the control's; divergence of every run decides as well."""
    label, factor = f"{arm.label} against {control.label}", evidence.rules.C2.factor
    pairs = pairs_of(arm, control)
    ids = tuple(run.id for pair in pairs for run in pair)
    if all(run.outcome == "diverged" and other.outcome == "done" for run, other in pairs):
        why = f"all {len(pairs)} runs diverged, and every control finished"
        return Finding(label, "supported", why, 1.0, unit="share diverged", num_seeds=len(pairs), cells=ids)
    sample = pair_up(
        arm, control, lambda a, b: _left(evidence, a) - factor * evidence.last(b, "kl_nats"), first_may_diverge=True
    )
    finding = evidence.compare(label, sample)
    if not sample.values:
        return finding if pairs else undecided(label, "no pair of seeds")
    kl = mean_of([_left(evidence, run) for run, _ in pairs])
    control_kl = mean_of([evidence.last(other, "kl_nats") for _, other in pairs])
    why = f"{finding.why}; mean KL {number(kl)} nats against {number(control_kl)} of the control"
    num_diverged = sum(run.outcome == "diverged" for run, _ in pairs)
    if num_diverged:
        why += f", {num_diverged} runs diverged and count with their last finite KL"
    return replace(finding, why=why)


def _left(evidence: Evidence[Rules], run: Run) -> float:
    """Return the last KL in nats; of a diverged run the last finite one."""
    return evidence.last(run, "kl_nats") if run.outcome == "done" else evidence.last_finite(run, "kl_nats")


def less_stable(evidence: Evidence[Rules], label: str, first: Arm, second: Arm, num_parts: int = 1) -> Finding:
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
    evidence: Evidence[Rules], label: str, first: Arm, second: Arm, present: Sequence[Pair], num_parts: int
) -> Finding:
    """Compare the late scatter; each pair that lost a run to divergence reduces the number of pairs that is needed."""
    rule = evidence.rules.C0
    sample = pair_up(
        first,
        second,
        lambda a, b: log_ratio(late_scatter(evidence, a), late_scatter(evidence, b)),
        without=f"no scatter of {rule.min_evaluations} evaluations in the last third",
    )
    num_lost = sum(any(run.outcome != "done" for run in pair) for pair in present)
    min_seeds = max(rule.min_finished, evidence.min_seeds - num_lost)
    finding = evidence.compare(label, sample, num_parts, unit="ln of the ratio of SDs", min_seeds=min_seeds)
    if not sample.values:
        return finding
    return replace(finding, why=f"{finding.why}; SD ratio {number(math.exp(finding.effect))}")


def late_scatter(evidence: Evidence[Rules], run: Run) -> float:
    """Return the standard deviation of the Fréchet distance over the evaluations in the last third of training."""
    curve = evidence.curve(run, evidence.rules.general.frechet)
    late = curve[curve.index >= 2 * run.cell.paradigm.steps / 3]
    return float(late.std(ddof=1)) if len(late) >= evidence.rules.C0.min_evaluations else NAN
