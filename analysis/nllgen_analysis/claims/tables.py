"""Verdicts as JSON, as a table and as lines of text."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from nllgen_analysis.claims import Judged
from nllgen_analysis.claims.verdict import Finding, Verdict
from nllgen_analysis.tables import finite_or_none
from nllgen_analysis.text import number

VERDICTS_SCHEMA = 1
COLUMNS = (
    "claim", "statement", "verdict", "effect", "low", "high", "confidence", "unit", "threshold", "sense", "num_seeds",
    "why", "cell_ids",
)  # fmt: skip


def verdicts_json(judged: Judged) -> dict[str, Any]:
    """The content of verdicts.json; a number that does not exist is null."""
    return {
        "schema": VERDICTS_SCHEMA,
        "rules": {
            "status": judged.status,
            "sha256": judged.rules_sha256,
            "registered_sha256": judged.registered_sha256 or None,
        },
        "claims": [_verdict(verdict) for verdict in judged.verdicts],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    head = {"id": verdict.id, "statement": verdict.statement, "rule": verdict.rule}
    return head | _finding(verdict.finding) | {"subclaims": [_verdict(sub) for sub in verdict.subclaims]}


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "label": found.label,
        "verdict": found.verdict,
        "effect": finite_or_none(found.effect),
        "interval": None if math.isnan(found.low) else [found.low, found.high],
        "confidence": finite_or_none(found.confidence),
        "unit": found.unit,
        "threshold": found.threshold,
        "sense": found.sense,
        "num_seeds": found.num_seeds,
        "why": found.why,
        "cells": list(found.cells),
        "parts": [_finding(part) for part in found.parts],
    }


def verdicts_table(judged: Judged) -> pd.DataFrame:
    """Long form: a row a claim and sub-claim, and a row each of its parts, named ``claim: part``."""
    rows = []
    for verdict in judged.rows:
        rows.append(_row(verdict.id, verdict.statement, verdict.finding))
        # a claim's sub-claims have rows of their own
        rows += [row for part in verdict.finding.parts if not verdict.subclaims for row in _part_rows(verdict.id, part)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _part_rows(path: str, part: Finding) -> list[dict[str, Any]]:
    name = f"{path}: {part.label}"
    return [_row(name, "", part), *(row for inner in part.parts for row in _part_rows(name, inner))]


def _row(name: str, statement: str, found: Finding) -> dict[str, Any]:
    values = {key: getattr(found, key) for key in COLUMNS if hasattr(found, key)}
    return {**values, "claim": name, "statement": statement, "cell_ids": " ".join(found.cells)}


def printed_verdicts(judged: Judged) -> pd.DataFrame:
    """A row a claim and sub-claim, as texts."""
    rows = [
        {
            "claim": verdict.id,
            "statement": verdict.statement,
            "verdict": verdict.finding.verdict,
            "effect": number(verdict.finding.effect),
            "interval": interval_text(verdict.finding),
            "unit": verdict.finding.unit if math.isfinite(verdict.finding.effect) else "–",
            "seeds": str(verdict.finding.num_seeds),
        }
        for verdict in judged.rows
    ]
    return pd.DataFrame(rows)


def interval_text(found: Finding) -> str:
    """``low … high``, or a dash."""
    return "–" if math.isnan(found.low) else f"{number(found.low)} … {number(found.high)}"


def verdict_lines(judged: Judged) -> list[str]:
    """One line a claim for a terminal."""
    lines = []
    for verdict in judged.rows:
        found = verdict.finding
        unit = "" if found.unit == "1" else f" {found.unit}"
        effect = "" if math.isnan(found.effect) else f"  [{number(found.effect)}; {interval_text(found)}{unit}]"
        indent = "  " if len(verdict.id) > 2 else ""
        lines.append(f"{indent}{verdict.id:<4} {found.verdict:<9}  {verdict.statement}{effect}")
    return lines
