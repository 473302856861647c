"""Power of the rules in a study that has not run: its planned seeds, and the effects that they decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nllgen.storage.schema import CELL_NUMBER_COLUMNS, CELL_TEXT_COLUMNS
from nllgen.storage.study_file import StudyFile
from nllgen.storage.tables import Table
from nllgen.study.config import Study
from nllgen_analysis.claims import Verdict, judge
from nllgen_analysis.claims.base_rules import Claim
from nllgen_analysis.claims.power import POWER, visible_effect, visible_share
from nllgen_analysis.claims.verdict import Finding
from nllgen_analysis.claims.version2.rules import Rules, load_rules
from nllgen_analysis.frames import to_frames
from nllgen_analysis.text import number


@dataclass(frozen=True)
class PlannedClaim:
    """A claim in a study that has not run, with the effect that its rule can see.

    Attributes:
        claim: its id.
        num_seeds: the fewest seeds of a comparison that it needs; 0 where the study cannot decide it.
        effect: distance from the threshold that is decided with the probability ``POWER``, with its unit; or what the
            study lacks.
    """

    claim: str
    num_seeds: int
    effect: str


def planned_claims(study: Study) -> list[PlannedClaim]:
    """Return what each rule that a submission registers can see with the seeds of a study."""
    rules, seeds = load_rules(), {cell.id: cell.seed for cell in study.cells}
    judged = judge(to_frames(_without_results(study)))
    rows = [row for row in judged.rows if not row.subclaims]
    return [_planned(row, rules, seeds) for row in rows]


def _without_results(study: Study) -> StudyFile:
    """Return the file of a study all of whose cells are missing."""
    cells = [("cell", cell) for cell in study.cells]
    if study.trains_truth and study.truth is not None:
        cells.append(("truth", study.truth))
    texts = {"id": [cell.id for _, cell in cells], "role": [role for role, _ in cells]}
    texts |= {"config": [cell.model_dump_json() for _, cell in cells], "outcome": ["missing"] * len(cells)}
    columns: Table = {key: np.array(texts.get(key, [""] * len(cells)), object) for key in CELL_TEXT_COLUMNS}
    columns |= {key: np.full(len(cells), np.nan) for key in CELL_NUMBER_COLUMNS}
    empty: Table = {"cell": np.zeros(0, np.int64), "step": np.zeros(0), "weights": np.zeros(0, object)}
    no_images = np.zeros((0, 1, 1, 1), np.float32)
    header = study.model_dump(mode="json", exclude={"cells"})
    return StudyFile(study.name, header, columns, empty, empty, empty, no_images, np.zeros(0, np.int64))


def _planned(verdict: Verdict, rules: Rules, seeds: dict[str, int]) -> PlannedClaim:
    counts = [(part, len({seeds[cell] for cell in part.cells})) for part in _comparisons(verdict.finding)]
    if not counts:
        return PlannedClaim(verdict.id, 0, verdict.finding.why)
    # of equally many seeds the last one: in C8 the Fréchet distance follows the NLL, whose spread depends on the pair
    part, num = min(reversed(counts), key=lambda pair: pair[1])
    if verdict.id.startswith("C0"):
        share = visible_share(num, rules.C0.share, rules.general.confidence)
        return PlannedClaim(verdict.id, num, f"a share of {share:.0%} of failing runs")
    claim: Claim = getattr(rules, verdict.id[:2])
    if verdict.id[2:]:
        claim = getattr(claim, verdict.id[2:])
    assert claim.spread is not None
    effect = number(visible_effect(claim.spread, num, part.confidence), 2)
    return PlannedClaim(verdict.id, num, f"{effect} {part.unit}".removesuffix(" 1"))


def _comparisons(finding: Finding) -> Iterator[Finding]:
    """Yield the planned comparisons that a finding rests on."""
    for part in finding.parts:
        yield from () if "(not counted)" in part.label else _comparisons(part)
    if not finding.parts and finding.cells:
        yield finding


def power_lines(claims: Sequence[PlannedClaim]) -> list[str]:
    """Return a line for each claim that a study can decide, and one for the others."""
    if not claims:
        return ["the cells of a tuning study are judged by no claim"]
    lines = [f"effects beyond their thresholds that the rules decide in {POWER:.0%} of such studies:"]
    lines += [f"  {claim.claim:<4} {claim.num_seeds} seeds: {claim.effect}" for claim in claims if claim.num_seeds]
    others = [claim.claim for claim in claims if not claim.num_seeds]
    return [*lines, f"  not judged by this study's cells: {', '.join(others)}"] if others else lines
