"""C0, C1 and C2: NSGAN beside NLL, from a random start on real and synthetic data, and from the Nash equilibrium."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from nllgen.study.config import Cell
from nllgen_analysis.claims.evidence import Arm, Evidence, Run, data_label
from nllgen_analysis.claims.pairing import common_seeds, pair_up
from nllgen_analysis.claims.stability import less_stable
from nllgen_analysis.claims.verdict import NAN, Finding, agreement, compare, undecided
from nllgen_analysis.text import number


def judge_stability(evidence: Evidence) -> Finding:
    """C0."""

    def run(cell: Cell) -> tuple[object, ...]:
        return cell.data, cell.flow, cell.precision, cell.paradigm.steps, cell.paradigm.eval_every

    found: list[Finding] = []
    skipped: list[str] = []
    for likelihood, adversarial in _two_sides(evidence, run, skipped):
        nll, _ = _best(evidence, likelihood, ("raw",))
        gan, _ = _best(evidence, adversarial, ("raw",))
        for partner in _with_seeds(evidence, gan, [nll], skipped):
            found.append(less_stable(evidence, f"{gan.label} against {partner.label}", gan, partner))
    return agreement("C0", found, skipped, "plain NSGAN and NLL from a random start on the same data, flow and steps")


def _two_sides(
    evidence: Evidence, key: Callable[[Cell], tuple[object, ...]], skipped: list[str]
) -> list[tuple[list[Arm], list[Arm]]]:
    """Arms of NLL and of plain NSGAN that train a flow from a random start, with the same key."""
    groups: dict[tuple[object, ...], tuple[list[Arm], list[Arm]]] = {}
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
    """Partners with enough planned seeds in common; what is left out is noted."""
    if not partners:
        skipped.append(f"{arm.label} has no partner")
    for partner in partners:
        count = len(common_seeds(arm, partner))
        if count >= evidence.min_seeds:
            yield partner
        else:
            skipped.append(f"{arm.label} has {count} planned seeds in common with {partner.label}")


def judge_quality(evidence: Evidence) -> Finding:
    """C1."""
    found: list[Finding] = []
    skipped: list[str] = []
    for likelihood, adversarial in _two_sides(evidence, lambda cell: (cell.data, cell.flow, cell.precision), skipped):
        data = likelihood[0].cell
        if data.data.source != "mnist":
            continue
        if len(likelihood) == len(adversarial):
            found += _quality(evidence, likelihood, adversarial, skipped)
        else:
            counts = f"{len(likelihood)} configurations of NLL and {len(adversarial)} of NSGAN"
            skipped.append(f"{data_label(data)}: unequal tuning budgets, {counts}")
    return agreement("C1", found, skipped, "NLL and plain NSGAN of one flow on MNIST, equally many configurations each")


def _quality(
    evidence: Evidence, likelihood: Sequence[Arm], adversarial: Sequence[Arm], skipped: list[str]
) -> Iterator[Finding]:
    frechet, rule = evidence.rules.general.frechet, evidence.rules.C1
    nll, _ = _best(evidence, likelihood, ("raw",))
    gan, weights = _best(evidence, adversarial, ("raw", "ema"))
    for partner in _with_seeds(evidence, nll, [gan], skipped):
        sample = pair_up(
            nll,
            partner,
            lambda a, b: _log(evidence.final(a, frechet)) - _log(evidence.final(b, frechet, weights)),
        )
        found = compare(
            f"{nll.label} against {gan.label}", sample, confidence=evidence.confidence(1),
            min_seeds=evidence.min_seeds, threshold=math.log(rule.max_ratio), sense="below", unit="ln of the ratio",
        )  # fmt: skip
        if sample.values:
            found = replace(found, why=f"{found.why}; ratio {number(math.exp(found.effect))}")
        yield _controlled(evidence, found, gan)


def _best(evidence: Evidence, arms: Sequence[Arm], kinds: Sequence[str]) -> tuple[Arm, str]:
    """The configuration with the lowest mean Fréchet distance on validation, and the weights of its final row."""
    frechet = evidence.rules.general.frechet
    means = {
        (i, kind): _mean([evidence.last(run, frechet, kind) for run in arm.runs])
        for i, arm in enumerate(arms)
        for kind in kinds
    }
    index, kind = min(means, key=lambda key: math.inf if math.isnan(means[key]) else means[key])
    return arms[index], "ema" if kind == "ema" else "last"


def _controlled(evidence: Evidence, found: Finding, gan: Arm) -> Finding:
    """Undecided unless the positive control came down to its registered Fréchet distance."""
    data = gan.cell.data
    most = evidence.rules.C1.max_control.get(str(data.image_size))
    arms = [arm for arm in evidence.arms
            if arm.cell.dcgan is not None and arm.cell.data == data and evidence.is_plain_nsgan(arm.cell)]  # fmt: skip
    frechet = evidence.rules.general.frechet
    reached = [
        _mean([evidence.last(run, frechet, kind) for run in arm.runs]) for arm in arms for kind in ("raw", "ema")
    ]
    lowest = min((value for value in reached if math.isfinite(value)), default=NAN)
    cells = (*found.cells, *(id for arm in arms for id in arm.ids))
    if most is None:
        text = f"no Fréchet distance is registered for a control at {data.image_size}×{data.image_size}"
    elif not arms:
        text = "the study has no positive control (a DCGAN generator trained by plain NSGAN on the same data)"
    elif math.isnan(lowest):
        text = "the positive control has no result"
    elif lowest > most:
        text = f"the positive control reached {number(lowest)}, more than the registered {number(most)}"
    else:
        passed = f"; the positive control reached {number(lowest)}, at most {number(most)} is registered"
        return replace(found, why=found.why + passed, cells=cells)
    return replace(found, verdict="undecided", why=f"{text}; {found.why}", cells=cells)


def judge_nash(evidence: Evidence) -> Finding:
    """C2."""
    counted: list[Finding] = []
    others: list[Finding] = []
    skipped: list[str] = []
    for arm in evidence.arms:
        if not _is_trained_flow(arm.cell, "truth") or arm.cell.paradigm.name == "nll":
            continue
        partners = [other for other in evidence.arms if _is_nash_control(arm.cell, other.cell)]
        counts = evidence.is_plain_nsgan(arm.cell) and math.isclose(arm.cell.paradigm.lr, evidence.rules.C2.counted_lr)
        for partner in _with_seeds(evidence, arm, partners, skipped):
            (counted if counts else others).append(_nash(evidence, arm, partner))
    needs = f"plain NSGAN at {evidence.rules.C2.counted_lr:g} and NLL from the truth, same data, optimiser and steps"
    found = agreement("C2", counted, skipped, needs)
    shown = tuple(replace(other, label=f"{other.label} (not counted)") for other in others)
    return replace(found, parts=(*found.parts, *shown))


def _is_nash_control(nash: Cell, other: Cell) -> bool:
    if not _is_trained_flow(other, "truth") or other.paradigm.name != "nll" or other.paradigm.schedule != "constant":
        return False
    same = (nash.data, nash.flow, nash.precision) == (other.data, other.flow, other.precision)
    return same and _optimisation(nash) == _optimisation(other)


def _optimisation(cell: Cell) -> tuple[object, ...]:
    training = cell.paradigm
    moments = (training.beta1, training.beta2) if training.optimizer == "adam" else ()
    return training.steps, training.batch_size, training.lr, training.optimizer, *moments


def _nash(evidence: Evidence, arm: Arm, control: Arm) -> Finding:
    label, factor = f"{arm.label} against {control.label}", evidence.rules.C2.factor
    pairs = [(arm.by_seed[seed], control.by_seed[seed]) for seed in common_seeds(arm, control)]
    ids = tuple(run.id for pair in pairs for run in pair)
    if all(run.outcome == "diverged" and other.outcome == "done" for run, other in pairs):
        why = f"all {len(pairs)} runs diverged, and every control finished"
        return Finding(label, "supported", why, 1.0, unit="share diverged", num_seeds=len(pairs), cells=ids)
    sample = pair_up(
        arm, control, lambda a, b: _left(evidence, a) - factor * evidence.last(b, "kl_nats"), first_may_diverge=True
    )
    found = compare(label, sample, confidence=evidence.confidence(1), min_seeds=evidence.min_seeds)
    if not sample.values:
        return found if pairs else undecided(label, "no pair of seeds")
    ends = [_mean([_left(evidence, pair[0]) for pair in pairs]),
            _mean([evidence.last(pair[1], "kl_nats") for pair in pairs])]  # fmt: skip
    text = f"mean KL {number(ends[0])} nats against {number(ends[1])} of the control"
    lost = sum(run.outcome == "diverged" for run, _ in pairs)
    text += f", {lost} runs diverged and count with their last finite KL" if lost else ""
    return replace(found, why=f"{found.why}; {text}")


def _left(evidence: Evidence, run: Run) -> float:
    return evidence.last(run, "kl_nats") if run.outcome == "done" else evidence.last_finite(run, "kl_nats")


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else NAN


def _log(value: float) -> float:
    return math.log(value) if value > 0 else NAN
