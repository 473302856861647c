"""C0, C1 and C2: NSGAN beside NLL, from a random start on real and synthetic data and from the Nash equilibrium."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from nllgen.study.config import Cell
from nllgen_analysis.claims.evidence import Arm, Evidence, Run, data_label, pair_up, pairs_of
from nllgen_analysis.claims.verdict import NAN, Finding, agreement, undecided
from nllgen_analysis.text import number

Key = Callable[[Cell], tuple[object, ...]]
Sides = tuple[list[Arm], list[Arm]]
Pair = tuple[Run, Run]


def judge_stability(evidence: Evidence) -> Finding:
    """Judge C0: training by NSGAN is less stable than by NLL, on the same data, flow and steps."""

    def key(cell: Cell) -> tuple[object, ...]:
        return cell.data, cell.flow, cell.precision, cell.paradigm.steps, cell.paradigm.eval_every

    findings: list[Finding] = []
    skipped: list[str] = []
    for likelihood, adversarial in _two_sides(evidence, key, skipped):
        nll, gan = (_best(evidence, arms, ("raw",))[0] for arms in (likelihood, adversarial))
        for partner in _with_seeds(evidence, gan, [nll], skipped):
            findings.append(less_stable(evidence, f"{gan.label} against {partner.label}", gan, partner))
    return agreement(
        "C0", findings, skipped, "plain NSGAN and NLL from a random start on the same data, flow and steps"
    )


def _two_sides(evidence: Evidence, key: Key, skipped: list[str]) -> list[Sides]:
    """Group the arms of NLL and of plain NSGAN that train a flow from a random start by a key."""
    groups: dict[tuple[object, ...], Sides] = {}
    for arm in evidence.arms:
        if _is_trained_flow(arm.cell, "random"):
            if arm.cell.paradigm.name == "nll":
                groups.setdefault(key(arm.cell), ([], []))[0].append(arm)
            elif evidence.is_plain_nsgan(arm.cell):
                groups.setdefault(key(arm.cell), ([], []))[1].append(arm)
    skipped += [f"{gan[0].label} has no NLL partner" for nll, gan in groups.values() if gan and not nll]
    return [sides for sides in groups.values() if all(sides)]


def _is_trained_flow(cell: Cell, start: str) -> bool:
    return cell.flow is not None and cell.start == start and cell.paradigm.steps > 0


def _with_seeds(evidence: Evidence, arm: Arm, partners: Sequence[Arm], skipped: list[str]) -> Iterator[Arm]:
    """Yield the partners that share enough planned seeds; add the others to ``skipped``."""
    if not partners:
        skipped.append(f"{arm.label} has no partner")
    for partner in partners:
        count = len(pairs_of(arm, partner))
        if count >= evidence.min_seeds:
            yield partner
        else:
            skipped.append(f"{arm.label} has {count} planned seeds in common with {partner.label}")


def judge_quality(evidence: Evidence) -> Finding:
    """Judge C1: NLL reaches about the Fréchet distance of NSGAN with the same flow on MNIST."""
    findings: list[Finding] = []
    skipped: list[str] = []
    for likelihood, adversarial in _two_sides(evidence, lambda cell: (cell.data, cell.flow, cell.precision), skipped):
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
    evidence: Evidence, likelihood: Sequence[Arm], adversarial: Sequence[Arm], skipped: list[str]
) -> Iterator[Finding]:
    frechet, rule = evidence.rules.general.frechet, evidence.rules.C1
    nll, *_ = _best(evidence, likelihood, ("raw",))
    gan, weights, _ = _best(evidence, adversarial, ("raw", "ema"))
    for partner in _with_seeds(evidence, nll, [gan], skipped):
        sample = pair_up(
            nll,
            partner,
            lambda a, b: _log(evidence.final(a, frechet)) - _log(evidence.final(b, frechet, weights)),
        )
        label, threshold = f"{nll.label} against {gan.label}", math.log(rule.max_ratio)
        finding = evidence.compare(label, sample, threshold=threshold, sense="below", unit="ln of the ratio")
        if sample.values:
            finding = replace(finding, why=f"{finding.why}; ratio {number(math.exp(finding.effect))}")
        yield _controlled(evidence, finding, gan)


def _best(evidence: Evidence, arms: Sequence[Arm], kinds: Sequence[str]) -> tuple[Arm, str, float]:
    """Return the arm with the lowest mean Fréchet distance on validation, the weights of its final row, the distance.

    The distance is NaN if no arm has a result.
    """
    frechet = evidence.rules.general.frechet
    means = {
        (i, kind): _mean([evidence.last(run, frechet, kind) for run in arm.runs])
        for i, arm in enumerate(arms)
        for kind in kinds
    }
    index, kind = min(means, key=lambda key: math.inf if math.isnan(means[key]) else means[key])
    return arms[index], "ema" if kind == "ema" else "last", means[index, kind]


def _controlled(evidence: Evidence, finding: Finding, gan: Arm) -> Finding:
    """Make a finding undecided unless the positive control reached its registered Fréchet distance."""
    data = gan.cell.data
    same_data = [arm for arm in evidence.arms if arm.cell.data == data]
    controls = [arm for arm in same_data if arm.cell.dcgan is not None and evidence.is_plain_nsgan(arm.cell)]
    lowest = _best(evidence, controls, ("raw", "ema"))[2] if controls else NAN
    most = evidence.rules.C1.max_control.get(str(data.image_size))
    cells = (*finding.cells, *(id for arm in controls for id in arm.ids))
    if most is None:
        problem = f"no Fréchet distance is registered for a control at {data.image_size}×{data.image_size}"
    elif not controls:
        problem = "the study has no positive control (a DCGAN generator trained by plain NSGAN on the same data)"
    elif math.isnan(lowest):
        problem = "the positive control has no result"
    elif lowest > most:
        problem = f"the positive control reached {number(lowest)}, more than the registered {number(most)}"
    else:
        passed = f"the positive control reached {number(lowest)}, at most {number(most)} is registered"
        return replace(finding, why=f"{finding.why}; {passed}", cells=cells)
    return replace(finding, verdict="undecided", why=f"{problem}; {finding.why}", cells=cells)


def judge_nash(evidence: Evidence) -> Finding:
    """Judge C2: NSGAN leaves the truth that it starts at, further than NLL training of the same kind."""
    counted: list[Finding] = []
    others: list[Finding] = []
    skipped: list[str] = []
    for arm in evidence.arms:
        if not _is_trained_flow(arm.cell, "truth") or arm.cell.paradigm.name == "nll":
            continue
        controls = [other for other in evidence.arms if _is_nash_control(arm.cell, other.cell)]
        counts = evidence.is_plain_nsgan(arm.cell) and math.isclose(arm.cell.paradigm.lr, evidence.rules.C2.counted_lr)
        for control in _with_seeds(evidence, arm, controls, skipped):
            (counted if counts else others).append(_nash(evidence, arm, control))
    needs = f"plain NSGAN at {evidence.rules.C2.counted_lr:g} and NLL from the truth, same data, optimiser and steps"
    finding = agreement("C2", counted, skipped, needs)
    not_counted = tuple(replace(other, label=f"{other.label} (not counted)") for other in others)
    return replace(finding, parts=(*finding.parts, *not_counted))


def _is_nash_control(nash: Cell, other: Cell) -> bool:
    if not _is_trained_flow(other, "truth") or other.paradigm.name != "nll" or other.paradigm.schedule != "constant":
        return False
    is_same_problem = (nash.data, nash.flow, nash.precision) == (other.data, other.flow, other.precision)
    return is_same_problem and _optimisation(nash) == _optimisation(other)


def _optimisation(cell: Cell) -> tuple[object, ...]:
    training = cell.paradigm
    moments = (training.beta1, training.beta2) if training.optimizer == "adam" else ()
    return training.steps, training.batch_size, training.lr, training.optimizer, *moments


def _nash(evidence: Evidence, arm: Arm, control: Arm) -> Finding:
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
    kl = _mean([_left(evidence, run) for run, _ in pairs])
    control_kl = _mean([evidence.last(other, "kl_nats") for _, other in pairs])
    why = f"{finding.why}; mean KL {number(kl)} nats against {number(control_kl)} of the control"
    num_diverged = sum(run.outcome == "diverged" for run, _ in pairs)
    if num_diverged:
        why += f", {num_diverged} runs diverged and count with their last finite KL"
    return replace(finding, why=why)


def _left(evidence: Evidence, run: Run) -> float:
    """Return the last KL in nats; of a diverged run the last finite one."""
    return evidence.last(run, "kl_nats") if run.outcome == "done" else evidence.last_finite(run, "kl_nats")


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else NAN


def _log(value: float) -> float:
    return math.log(value) if value > 0 else NAN


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
    min_seeds = max(rule.min_finished, evidence.min_seeds - num_lost)
    finding = evidence.compare(label, sample, num_parts, unit="ln of the ratio of SDs", min_seeds=min_seeds)
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
