"""The verdicts on the page: those that are decided, those that are undecided, and claims that nothing speaks to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from nllgen_analysis.claims import Finding, Judged, Verdict
from nllgen_analysis.claims.tables import interval_text, verdict_text
from nllgen_analysis.text import number

# beginning of a unit → what a number of it says
UNITS = {
    "floors": "one floor is the Fréchet distance between two sets of real images of the same number",
    "signed ln": "sign(d) · ln(1 + |d|) of a difference d: 0 is equal, 2.4 is 10 nats, 4.6 is 100",
    "ln of": "natural logarithm of a ratio: 0 is equal, 0.69 twice, −0.69 half",
    "share diverged": "share of the runs that diverged",
}


class Standing(StrEnum):
    """The share of a claim that a study can decide."""

    DECIDED = "decided"  # the claim, or one of its sub-claims
    UNDECIDED = "undecided"
    UNJUDGED = "unjudged"  # no cells of the study have the numbers for it


def verdict_rows(judged: Judged) -> dict[Standing, list[dict[str, Any]]]:
    """Return the claims with their sub-claims as rows of the page, by their standing."""
    rows: dict[Standing, list[dict[str, Any]]] = {standing: [] for standing in Standing}
    for verdict in judged.verdicts:
        every = [verdict, *verdict.subclaims]
        rows[_standing(every)] += [_verdict_row(item) for item in every]
    return rows


def _standing(every: Sequence[Verdict]) -> Standing:
    if any(item.finding.verdict != "undecided" for item in every):
        return Standing.DECIDED
    return Standing.UNDECIDED if any(_has_numbers(item.finding) for item in every) else Standing.UNJUDGED


def _has_numbers(finding: Finding) -> bool:
    return not math.isnan(finding.effect) or any(_has_numbers(part) for part in finding.parts)


def unit_meaning(unit: str) -> str:
    """Return what a number of a unit says, empty for a unit that every reader knows."""
    return next((meaning for start, meaning in UNITS.items() if unit.startswith(start)), "")


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    finding = verdict.finding
    return {
        "id": verdict.id,
        "statement": verdict.statement,
        "is_part": len(verdict.id) > 2,
        "rule": verdict.rule,
        "parts": [] if verdict.subclaims else [line for part in finding.parts for line in _part_lines(part, 0)],
        "cells": finding.cells,
        **_shown(finding),
        "text": verdict_text(verdict),
        "p_holm": number(verdict.p_holm),
        "unit": "" if math.isnan(finding.effect) else unit_meaning(finding.unit),
    }


def _part_lines(part: Finding, depth: int) -> list[dict[str, Any]]:
    return [
        {"label": part.label, "depth": depth, "cells": part.cells, **_shown(part)},
        *(line for inner in part.parts for line in _part_lines(inner, depth + 1)),
    ]


def _shown(finding: Finding) -> dict[str, Any]:
    effect = number(finding.effect)
    return {
        "verdict": finding.verdict,
        "text": finding.text,
        "p_value": number(finding.p_value),
        "effect": effect if effect == "–" or finding.unit == "1" else f"{effect} {finding.unit}",
        "interval": interval_text(finding),
        "seeds": finding.num_seeds,
        "why": finding.why,
    }
