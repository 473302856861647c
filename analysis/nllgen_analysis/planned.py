"""Power of the rules in a study that has not run: its planned seeds, and the effects that they decide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nllgen.storage.schema import CELL_NUMBER_COLUMNS, CELL_TEXT_COLUMNS
from nllgen.storage.study_file import StudyFile
from nllgen.storage.tables import Table
from nllgen.study.config import Cell, Study
from nllgen_analysis.claims import Verdict, judge
from nllgen_analysis.claims.base_rules import Claim
from nllgen_analysis.claims.power import POWER, visible_effect, visible_share
from nllgen_analysis.claims.verdict import Finding
from nllgen_analysis.claims.version2.rules import Rules, load_rules
from nllgen_analysis.claims.version2.values import num_evaluations
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
    rules, cells = load_rules(), {cell.id: cell for cell in study.cells}
    judged = judge(to_frames(_without_results(study)))
    rows = [row for row in judged.rows if not row.subclaims]
    return [_planned(row, rules, cells) for row in rows]


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


def _planned(verdict: Verdict, rules: Rules, cells: Mapping[str, Cell]) -> PlannedClaim:
    parts = list(_comparisons(verdict.finding))
    # all settings must agree, so that one that cannot be decided leaves the claim undecided
    lacks = [text for part in parts if (text := _lack(verdict.id, part, rules, cells))]
    if lacks or not parts:
        return PlannedClaim(verdict.id, 0, lacks[0] if lacks else verdict.finding.why)
    counts = [(part, len({cells[id].seed for id in part.cells if not _is_control(verdict.id, cells[id])}))
              for part in parts]  # fmt: skip
    # of equally many seeds the last one: in C8 the Fréchet distance follows the NLL, whose spread depends on the pair
    part, num = min(reversed(counts), key=lambda pair: pair[1])
    if verdict.id.startswith("C0"):
        share = visible_share(num, rules.C0.share, rules.general.confidence)
        return PlannedClaim(verdict.id, num, f"a share of {share:.0%} of failing runs")
    spread = _claim(verdict.id, rules).spread
    assert spread is not None
    effect = number(visible_effect(spread, num, part.confidence), 2)
    return PlannedClaim(verdict.id, num, f"{effect} {part.unit}".removesuffix(" 1"))


def _claim(id: str, rules: Rules) -> Claim:
    claim: Claim = getattr(rules, id[:2])
    return getattr(claim, id[2:]) if id[2:] else claim


def _lack(id: str, part: Finding, rules: Rules, cells: Mapping[str, Cell]) -> str:
    """Return why a planned comparison is undecided whatever its cells give, empty if they decide it."""
    if id.startswith("C0"):  # its comparisons have no interval before there are results
        return ""
    own = [cells[cell] for cell in part.cells]
    has_control = any(_is_control(id, cell) for cell in own) and str(own[0].data.image_size) in rules.C1.max_control
    if math.isnan(part.confidence) or (id == "C1" and not has_control):
        return part.why
    count, needed = min(map(num_evaluations, own)), getattr(_claim(id, rules), "min_evaluations", 0)
    return f"{count} evaluations are planned, {needed} are needed" if count < needed else ""


def _is_control(id: str, cell: Cell) -> bool:
    """Return whether a cell of a comparison is C1's positive control, whose seeds are no pairs."""
    return id == "C1" and cell.dcgan is not None


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
