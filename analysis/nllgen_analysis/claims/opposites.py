"""C8: pairs of arms in which the better likelihood goes with the worse images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nllgen_analysis.claims.base_rules import AnyRules
from nllgen_analysis.claims.evidence import Arm, Evidence, data_label, pairs_of
from nllgen_analysis.claims.verdict import Finding, Outcome, largest_p, undecided
from nllgen_analysis.text import number

MAX_SHOWN = 10


@dataclass(frozen=True)
class Differences:
    """The differences first − second of two arms, in NLL and in Fréchet distance."""

    nll: Finding
    frechet: Finding

    @property
    def sign(self) -> int:
        """Return 1 if both intervals exclude 0 on the same side, −1 on opposite sides, 0 if one is open."""
        if "undecided" in (self.nll.verdict, self.frechet.verdict):  # also intervals of too few seeds
            return 0
        nll, frechet = (int(part.low > 0) - int(part.high < 0) for part in (self.nll, self.frechet))
        return nll * frechet

    @property
    def clearness(self) -> float:
        """Return the smaller effect, measured in widths of its interval."""
        return min(abs(part.effect) / (part.high - part.low or 1) for part in (self.nll, self.frechet))

    @property
    def p_value(self) -> float:
        """Return the larger of the two p-values: both differences must exclude 0."""
        return largest_p([self.nll, self.frechet])

    @property
    def parts(self) -> tuple[Finding, Finding]:
        """Return both findings with the verdict of the pair: opposite signs support the claim."""
        verdicts: dict[int, Outcome] = {-1: "supported", 1: "refuted", 0: "undecided"}
        verdict = verdicts[self.sign]
        return replace(self.nll, verdict=verdict), replace(self.frechet, verdict=verdict)


Compare = Callable[[Arm, Arm, int], Differences]  # two arms, and the number of all pairs


def judge_pairs(evidence: Evidence[AnyRules], compare: Compare) -> Finding:
    """Judge C8: supported by one opposite pair, refuted if enough pairs all agree."""
    pairs, min_pairs = _pairs(evidence), evidence.rules.C8.min_pairs
    if not pairs:
        needs = f"pairs of arms on the same data with {evidence.min_seeds} planned seeds in common"
        return undecided("C8", f"the study has no {needs}")
    differences = [compare(first, second, len(pairs)) for first, second in pairs]
    opposite = [pair for pair in differences if pair.sign < 0]
    if opposite:
        strongest = max(opposite, key=lambda pair: pair.clearness)
        whole = _whole("supported", strongest, opposite, f"{len(opposite)} of {len(pairs)} pairs are opposite")
        return replace(whole, p_value=min(pair.p_value for pair in opposite))
    open_ = [pair for pair in differences if pair.sign == 0]
    if not open_ and len(pairs) >= min_pairs:
        why = f"in all {len(pairs)} pairs NLL and Fréchet distance go together"
        return replace(_whole("refuted", differences[0], differences, why), p_value=_largest(differences))
    why = f"no pair of {len(pairs)} is opposite, and {len(open_)} are open"
    if len(pairs) < min_pairs:
        why = f"no pair is opposite, and {len(pairs)} of at least {min_pairs} pairs are planned"
    whole = _whole("undecided", (open_ or differences)[0], open_ or differences, why)
    return replace(whole, p_value=_largest(differences))


def _largest(differences: Sequence[Differences]) -> float:
    return largest_p([part for pair in differences for part in pair.parts])


def _pairs(evidence: Evidence[AnyRules]) -> list[tuple[Arm, Arm]]:
    groups: dict[object, list[Arm]] = {}
    for arm in evidence.arms:
        cell = arm.cell
        if cell.start == "random" and cell.paradigm.steps > 0 and cell.dcgan is None:
            groups.setdefault((cell.data, cell.precision), []).append(arm)
    return [
        (first, second)
        for arms in groups.values()
        for first, second in itertools.combinations(arms, 2)
        if len(pairs_of(first, second)) >= evidence.min_seeds
    ]


def pair_label(first: Arm, second: Arm) -> str:
    """Return the names of two arms; add the name and size of real images."""
    size = f" ({data_label(first.cell)})" if not first.cell.data.is_synthetic else ""
    return f"{first.label} against {second.label}{size}"


def _whole(verdict: Outcome, shown: Differences, behind: Sequence[Differences], why: str) -> Finding:
    """Return the finding on all pairs; it shows one of them and names the cells behind several."""
    nll, frechet = shown.parts
    nll_unit = "" if nll.unit == "1" else f" {nll.unit}"
    why = f"{why}; {nll.label} {number(nll.effect)}{nll_unit}, Fréchet {number(frechet.effect)}"
    if verdict == "undecided":
        why += "".join(f"; {part.why}" for part in shown.parts if part.verdict == "undecided")
    parts = [part for pair in (shown, *(pair for pair in behind if pair is not shown)) for part in pair.parts]
    cells = dict.fromkeys(cell for pair in behind for part in pair.parts for cell in part.cells)
    return replace(
        frechet, label="C8", verdict=verdict, why=why, cells=tuple(cells), parts=tuple(parts[: 2 * MAX_SHOWN])
    )
