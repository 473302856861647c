"""C2: NSGAN leaves the truth that it starts at, further than NLL and further than noise."""

from __future__ import annotations

import math
from dataclasses import replace

from nllgen.study.config import Cell, NSGANConfig
from nllgen_analysis.claims.evidence import Arm, Evidence, Run
from nllgen_analysis.claims.partners import is_nash_control, is_trained_flow, mean_of, optimiser_steps, problem
from nllgen_analysis.claims.verdict import NAN, Finding, agreement
from nllgen_analysis.claims.version2.rules import Rules
from nllgen_analysis.claims.version2.values import INF, at_end, log_kl, sample
from nllgen_analysis.statistics import log
from nllgen_analysis.text import number

UNIT = "ln of the ratio of KLs"


def judge_nash(evidence: Evidence[Rules]) -> Finding:
    """Judge C2."""
    counted: list[Finding] = []
    others: list[Finding] = []
    skipped: list[str] = []
    for arm in evidence.arms:
        if not is_trained_flow(arm.cell, "truth") or arm.cell.paradigm.name in ("nll", "noise"):
            continue
        controls = _controls(evidence, arm, skipped)
        if controls:
            (counted if _counts(evidence, arm.cell) else others).append(_nash(evidence, arm, *controls))
    needs = (
        f"plain NSGAN at {evidence.rules.C2.counted_lr:g} from the truth on fresh data in fp32, with NLL and noise as "
        "controls"
    )
    finding = agreement("C2", counted, skipped, needs)
    not_counted = tuple(replace(other, label=f"{other.label} (not counted)") for other in others)
    return replace(finding, parts=(*finding.parts, *not_counted))


def _counts(evidence: Evidence[Rules], cell: Cell) -> bool:
    game = cell.paradigm
    if not (isinstance(game, NSGANConfig) and evidence.is_plain_nsgan(cell)):
        return False
    has_rate = math.isclose(game.lr, evidence.rules.C2.counted_lr)
    start = game.disc_start, cell.start_noise
    return has_rate and (*start, cell.data.num_train, cell.precision) == ("zero", 0.0, "fresh", "fp32")


def _controls(evidence: Evidence[Rules], arm: Arm, skipped: list[str]) -> tuple[Arm, Arm] | None:
    """Return NLL's and the noise's arm from the same start, with enough planned seeds in common."""
    nll = [other for other in evidence.arms if is_nash_control(arm.cell, other.cell)]
    noise = [other for other in evidence.arms if _is_noise(arm.cell, other.cell)]
    lacking = [name for name, arms in (("NLL", nll), ("noise", noise)) if not arms]
    if lacking:
        skipped.append(f"{arm.label} has no control by {' or '.join(lacking)}")
        return None
    common = set(arm.by_seed) & set(nll[0].by_seed) & set(noise[0].by_seed)
    if len(common) < evidence.min_seeds:
        needed = f"planned seeds in common with its controls: {len(common)}, {evidence.min_seeds} are needed"
        skipped.append(f"{arm.label} has too few {needed}")
        return None
    return nll[0], noise[0]


def _is_noise(nash: Cell, other: Cell) -> bool:
    is_noise = is_trained_flow(other, "truth") and other.paradigm.name == "noise"
    return is_noise and problem(nash) == problem(other) and optimiser_steps(nash) == optimiser_steps(other)


def _nash(evidence: Evidence[Rules], arm: Arm, nll: Arm, noise: Arm) -> Finding:
    """Compare the last KL with a multiple of the larger one of its controls."""
    factor = evidence.rules.C2.factor

    def log_ratio(game: Run, *controls: Run) -> float:
        values = [at_end(evidence, run, "kl_nats") for run in controls]
        largest = NAN if any(map(math.isnan, values)) else max(values)
        # an estimate of a KL near 0 may be negative
        return log_kl(_left(evidence, game)) - log(factor * max(largest, at_end(evidence, controls[0], "kl_se_nats")))

    finding = evidence.compare(
        f"{arm.label} against {nll.label} and noise", sample([arm, nll, noise], log_ratio), unit=UNIT
    )
    if not math.isfinite(finding.effect):
        return finding
    means = [mean_of([_left(evidence, run) for run in each.runs]) for each in (arm, nll, noise)]
    texts = [f"{number(mean)} nats of {name}" for mean, name in zip(means[1:], ("NLL", "noise"), strict=True)]
    why = f"{finding.why}; mean KL {number(means[0])} nats against {' and '.join(texts)}"
    num_diverged = sum(run.outcome == "diverged" for run in arm.runs)
    if num_diverged:
        why += f", {num_diverged} of {len(arm.runs)} runs diverged, which count with the last finite KL"
    return replace(finding, why=why)


def _left(evidence: Evidence[Rules], run: Run) -> float:
    """Return the last KL in nats; of a diverged run the last finite one after the start, ∞ if it has none."""
    if run.outcome != "diverged":
        return evidence.last(run, "kl_nats")
    kl = evidence.last_finite(run, "kl_nats")
    return INF if math.isnan(kl) else kl
