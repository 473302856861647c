"""C0: NSGAN training is unstable, judged for plain NSGAN and for tuned NSGAN apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from nllgen.study.config import Cell
from nllgen_analysis.claims.evidence import Arm, Evidence, Run, pairs_of
from nllgen_analysis.claims.partners import Pair, best_of, two_sides, with_seeds
from nllgen_analysis.claims.verdict import NAN, Finding, Verdict, agreement, undecided
from nllgen_analysis.claims.version2.rules import Rules
from nllgen_analysis.claims.version2.tuning import tuned
from nllgen_analysis.claims.version2.values import INF, at_end, difference, mean_at_end, num_evaluations
from nllgen_analysis.statistics import log, lower_share, sign_p_value


class Failure(StrEnum):
    """A way in which a run fails."""

    DIVERGED = "diverged"
    WORSE = "end above their start"
    RECALL = "lost their recall"
    DEAD = "have a dead gradient"


def judge_stability(evidence: Evidence[Rules]) -> Verdict:
    """Judge C0 by plain NSGAN, with its parts C0a (plain) and C0b (tuned)."""
    rule = evidence.rules.C0
    plain = replace(_plain(evidence), label="C0a")
    subclaims = tuple(
        Verdict(f"C0{letter}", rule.parts[letter], rule.rule_text, finding)
        for letter, finding in (("a", plain), ("b", _tuned(evidence)))
    )
    return Verdict("C0", rule.statement, rule.rule_text, replace(plain, label="C0"), subclaims)


def _plain(evidence: Evidence[Rules]) -> Finding:
    def key(cell: Cell) -> tuple[object, ...]:
        return cell.data, cell.flow, cell.precision, cell.paradigm.steps, cell.paradigm.eval_every

    skipped: list[str] = []
    findings: list[Finding] = []
    for likelihood, adversarial in two_sides(evidence.arms, key, evidence.is_plain_nsgan, skipped):
        nll, gan = (best_of(evidence, arms, ("raw",), mean_at_end)[0] for arms in (likelihood, adversarial))
        findings += _unstable(evidence, gan, nll, skipped)
    needs = "plain NSGAN and NLL from a random start on the same data, flow and steps"
    return agreement("C0a", findings, skipped, needs)


def _tuned(evidence: Evidence[Rules]) -> Finding:
    skipped: list[str] = []
    findings: list[Finding] = []
    for winners in tuned(evidence, skipped):
        findings += _unstable(evidence, winners.gan, winners.nll, skipped)
    return agreement(
        "C0b", findings, skipped, "a tuning study with trials of NLL and of NSGAN, and cells of its winners"
    )


def _unstable(evidence: Evidence[Rules], gan: Arm, nll: Arm, skipped: list[str]) -> list[Finding]:
    """Judge one arm against its partner, if it is planned with enough evaluations and seeds."""
    rule, count = evidence.rules.C0, num_evaluations(gan.cell)
    if count < rule.min_evaluations:
        skipped.append(f"{gan.label} is planned with {count} evaluations, {rule.min_evaluations} are needed")
        return []
    return [_against(evidence, gan, partner) for partner in with_seeds(evidence, gan, [nll], skipped)]


def _against(evidence: Evidence[Rules], gan: Arm, nll: Arm) -> Finding:
    label = f"{gan.label} against {nll.label}"
    present = [pair for pair in pairs_of(gan, nll) if _is_measured(evidence, pair)]
    ids = tuple(run.id for pair in pairs_of(gan, nll) for run in pair)
    if len(present) < evidence.min_seeds:
        count = f"{len(present)} of {len(pairs_of(gan, nll))} planned pairs have results"
        columns = "Fréchet distances of both and NSGAN's recall"
        return undecided(label, f"{count}, {evidence.min_seeds} are needed ({columns})", ids)
    failures = [failure(evidence, game) for game, _ in present]
    text = _in_words(failures, len(present))
    num_failed, num_nll = sum(map(bool, failures)), sum(bool(failure(evidence, other)) for _, other in present)
    share, bound = evidence.rules.C0.share, lower_share(num_failed, len(present), evidence.rules.general.confidence)
    if bound > share and num_failed > num_nll:
        p_value = sign_p_value(num_failed, len(present), share)
        why, effect = f"{text}; of NLL's {num_nll}", num_failed / len(present)
        return Finding(
            label, "supported", why, effect, bound, 1.0, "share that fails", share, "above",
            evidence.rules.general.confidence, len(present), ids, (), p_value,
        )  # fmt: skip
    finding = _late_loss(evidence, label, gan, nll)
    return replace(finding, why=f"{text}, of NLL's {num_nll}; {finding.why}")


def _is_measured(evidence: Evidence[Rules], pair: Pair) -> bool:
    """Return whether both runs have an outcome, and Fréchet distances unless they diverged.

    A game that does not fail must have its recall: without it nothing says that no modes are lost.
    """
    frechet, game = evidence.rules.general.frechet, pair[0]
    has_distances = all(run.outcome == "diverged" or len(evidence.curve(run, frechet)) > 1 for run in pair)
    return has_distances and (failure(evidence, game) is not None or math.isfinite(_recall_ratio(evidence, game)))


def _recall_ratio(evidence: Evidence[Rules], run: Run) -> float:
    """Return the recall at the end as a share of its floor, NaN where it was not measured."""
    recall, floor = (
        evidence.last(run, f"{name}_{evidence.rules.general.extractor}") for name in ("recall", "recall_floor")
    )
    return recall / floor if floor > 0 else NAN


def _in_words(failures: Sequence[Failure | None], num: int) -> str:
    counts = Counter(each for each in failures if each)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return f"{counts.total()} of {num} runs fail" + (f" ({kinds})" if kinds else "")


def failure(evidence: Evidence[Rules], run: Run) -> Failure | None:
    """Return how a run fails, None if it does not."""
    general = evidence.rules.general
    if run.outcome == "diverged":
        return Failure.DIVERGED
    distances = evidence.curve(run, general.frechet)
    end = evidence.last(run, general.frechet)
    if len(distances) and not end <= distances.iloc[0]:  # also where the last one is not finite
        return Failure.WORSE
    if _recall_ratio(evidence, run) < evidence.rules.C0.min_recall:
        return Failure.RECALL
    return Failure.DEAD if math.isfinite(evidence.last(run, "dead_step")) else None


def _late_loss(evidence: Evidence[Rules], label: str, gan: Arm, nll: Arm) -> Finding:
    """Compare the rise from the lowest Fréchet distance to the last one; a run that fails is infinitely bad."""
    frechet = evidence.rules.general.frechet

    def rise(run: Run) -> float:
        if failure(evidence, run):
            return INF
        return log(at_end(evidence, run, frechet)) - log(float(evidence.curve(run, frechet).min()))

    sample = difference(gan, nll, rise)
    threshold = math.log(evidence.rules.C0.max_ratio)
    return evidence.compare(label, sample, threshold=threshold, unit="ln of F_end / min F")
