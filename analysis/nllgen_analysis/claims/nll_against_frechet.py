"""C8: a pair of arms in which the better likelihood goes with the worse images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from nllgen_analysis.claims.evidence import Arm, Evidence, data_label
from nllgen_analysis.claims.pairing import common_seeds, pair_up
from nllgen_analysis.claims.verdict import Finding, compare, undecided
from nllgen_analysis.text import number

MAX_SHOWN = 10
Pair = tuple[Finding, Finding]


def judge_relation(evidence: Evidence) -> Finding:
    """C8."""
    pairs = _pairs(evidence)
    needs = f"pairs of arms on the same data with {evidence.min_seeds} planned seeds in common"
    if not pairs:
        return undecided("C8", f"the study has no {needs}")
    found = [_differences(evidence, first, second, 2 * len(pairs)) for first, second in pairs]
    opposite = [pair for pair in found if _signs(pair) < 0]
    if opposite:
        strongest = max(opposite, key=lambda pair: min(abs(part.effect) / (part.high - part.low or 1) for part in pair))
        return _whole("supported", strongest, opposite, f"{len(opposite)} of {len(found)} pairs are opposite")
    open_ = [pair for pair in found if _signs(pair) == 0]
    if not open_ and len(found) >= evidence.rules.C8.min_pairs:
        return _whole("refuted", found[0], found, f"in all {len(found)} pairs NLL and Fréchet distance go together")
    why = f"no pair of {len(found)} is opposite, and {len(open_)} are open"
    if len(found) < evidence.rules.C8.min_pairs:
        why = f"no pair is opposite, and {len(found)} of at least {evidence.rules.C8.min_pairs} pairs are planned"
    return _whole("undecided", (open_ or found)[0], open_ or found, why)


def _pairs(evidence: Evidence) -> list[tuple[Arm, Arm]]:
    groups: dict[object, list[Arm]] = {}
    for arm in evidence.arms:
        cell = arm.cell
        if cell.start == "random" and cell.paradigm.steps > 0 and cell.dcgan is None:
            groups.setdefault((cell.data, cell.precision), []).append(arm)
    return [
        (first, second)
        for arms in groups.values()
        for first, second in itertools.combinations(arms, 2)
        if len(common_seeds(first, second)) >= evidence.min_seeds
    ]


def _differences(evidence: Evidence, first: Arm, second: Arm, num_parts: int) -> Pair:
    """Of NLL and of the Fréchet distance, first − second."""
    frechet = evidence.rules.general.frechet
    label = f"{first.label} against {second.label}"
    if first.cell.data.source == "mnist":
        label += f" ({data_label(first.cell)})"
    nll, image = (
        compare(
            f"{label}: {what}",
            pair_up(first, second, lambda a, b, column=column: evidence.final(a, column) - evidence.final(b, column)),  # type: ignore[misc]
            confidence=evidence.confidence(num_parts),
            min_seeds=evidence.min_seeds,
            unit=unit,
        )
        for column, what, unit in (("test_nll_nats", "NLL", "nats"), (frechet, "Fréchet", "1"))
    )
    verdict = {-1: "supported", 1: "refuted", 0: "undecided"}[_signs((nll, image))]
    return replace(nll, verdict=verdict), replace(image, verdict=verdict)  # type: ignore[arg-type]


def _signs(pair: Sequence[Finding]) -> int:
    """1 where both differences exclude 0 on the same side, −1 on opposite sides, 0 where one does not."""
    product = 1
    for part in pair:
        enough = part.verdict != "undecided"  # an interval of too few seeds decides nothing
        product *= int(enough) * (1 if part.low > 0 else -1 if part.high < 0 else 0)
    return product


def _whole(verdict: str, shown: Pair, behind: Sequence[Pair], why: str) -> Finding:
    nll, image = shown
    told = f"{why}; {nll.label} {number(nll.effect)} nats, Fréchet {number(image.effect)}"
    if verdict == "undecided":
        told += "".join(f"; {part.why}" for part in shown if part.verdict == "undecided")
    cells = tuple(dict.fromkeys(cell for pair in behind for part in pair for cell in part.cells))
    parts = tuple(part for pair in (shown, *(pair for pair in behind if pair is not shown)) for part in pair)
    return replace(image, label="C8", verdict=verdict, why=told, cells=cells, parts=parts[: 2 * MAX_SHOWN])  # type: ignore[arg-type]
