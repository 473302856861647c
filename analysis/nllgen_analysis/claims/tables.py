"""Verdicts as JSON, as a table and as lines of text."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from nllgen_analysis.claims import Judged
from nllgen_analysis.claims.verdict import Finding, Verdict
from nllgen_analysis.statistics import CONFIDENCE
from nllgen_analysis.tables import finite_or_none
from nllgen_analysis.text import number

VERDICTS_SCHEMA = {1: 1, 2: 2}  # by the version of the rules; schema 2 adds p-values and qualifiers
COLUMNS = (
    "claim", "statement", "verdict", "effect", "low", "high", "confidence", "unit", "threshold", "sense", "num_seeds",
    "why", "cell_ids",
)  # fmt: skip
P_COLUMNS = ("qualifier", "p_value", "p_holm")  # from version 2 of the rules on


def verdicts_json(judged: Judged) -> dict[str, Any]:
    """Return the content of verdicts.json; numbers that do not exist are null."""
    return {
        "schema": VERDICTS_SCHEMA[judged.version],
        "rules": {
            "status": judged.status,
            "sha256": judged.rules_sha256,
            "registered_sha256": judged.registered_sha256 or None,
        },
        "claims": [_verdict(verdict, judged.has_p_values) for verdict in judged.verdicts],
    }


def _verdict(verdict: Verdict, has_p: bool) -> dict[str, Any]:
    head = {"id": verdict.id, "statement": verdict.statement, "rule": verdict.rule}
    corrected = {"p_holm": finite_or_none(verdict.p_holm), "holds_corrected": holds_corrected(verdict)} if has_p else {}
    subclaims = [_verdict(sub, has_p) for sub in verdict.subclaims]
    return head | _finding(verdict.finding, has_p) | corrected | {"subclaims": subclaims}


def holds_corrected(verdict: Verdict) -> bool | None:
    """Return whether a decided verdict holds after Holm's correction, None for any other."""
    finding = verdict.finding
    if finding.verdict == "undecided" or math.isnan(verdict.p_holm):
        return None
    return verdict.p_holm <= 1 - CONFIDENCE + 1e-12


def _finding(finding: Finding, has_p: bool) -> dict[str, Any]:
    p_values = {"qualifier": finding.qualifier, "p_value": finite_or_none(finding.p_value)} if has_p else {}
    return p_values | {
        "label": finding.label,
        "verdict": finding.verdict,
        "effect": finite_or_none(finding.effect),
        "interval": None if math.isnan(finding.low) else [finding.low, finding.high],
        "confidence": finite_or_none(finding.confidence),
        "unit": finding.unit,
        "threshold": finding.threshold,
        "sense": finding.sense,
        "num_seeds": finding.num_seeds,
        "why": finding.why,
        "cells": list(finding.cells),
        "parts": [_finding(part, has_p) for part in finding.parts],
    }


def verdicts_table(judged: Judged) -> pd.DataFrame:
    """Return a row per claim and sub-claim, and a row per part, named ``claim: part``."""
    rows = []
    for verdict in judged.rows:
        rows.append(_row(verdict.id, verdict.statement, verdict.finding) | {"p_holm": verdict.p_holm})
        if not verdict.subclaims:  # those have rows of their own
            rows += [row for part in verdict.finding.parts for row in _part_rows(verdict.id, part)]
    return pd.DataFrame(rows, columns=[*COLUMNS, *(P_COLUMNS if judged.has_p_values else ())])


def _part_rows(path: str, part: Finding) -> list[dict[str, Any]]:
    name = f"{path}: {part.label}"
    return [_row(name, "", part), *(row for inner in part.parts for row in _part_rows(name, inner))]


def _row(name: str, statement: str, finding: Finding) -> dict[str, Any]:
    values = {key: getattr(finding, key) for key in (*COLUMNS, *P_COLUMNS) if hasattr(finding, key)}
    return {**values, "claim": name, "statement": statement, "cell_ids": " ".join(finding.cells)}


def printed_verdicts(judged: Judged) -> pd.DataFrame:
    """Return a row of texts per claim and sub-claim."""
    rows = [
        {
            "claim": verdict.id,
            "statement": verdict.statement,
            "verdict": verdict_text(verdict),
            "effect": number(verdict.finding.effect),
            "interval": interval_text(verdict.finding),
            "unit": verdict.finding.unit if math.isfinite(verdict.finding.effect) else "–",
            **(
                {"p": number(verdict.finding.p_value), "p (Holm)": number(verdict.p_holm)}
                if judged.has_p_values
                else {}
            ),
            "seeds": str(verdict.finding.num_seeds),
        }
        for verdict in judged.rows
    ]
    return pd.DataFrame(rows)


def verdict_text(verdict: Verdict) -> str:
    """Return the verdict with its qualifier; mark one that does not hold after Holm's correction."""
    return verdict.finding.text + (", not after Holm's correction" if holds_corrected(verdict) is False else "")


def decided_text(judged: Judged) -> str:
    """Return for example ``C2 supported; C5 refuted; 7 undecided``."""
    decided = [verdict for verdict in judged.verdicts if verdict.finding.verdict != "undecided"]
    rest = len(judged.verdicts) - len(decided)
    texts = [f"{verdict.id} {verdict_text(verdict)}" for verdict in decided]
    return "; ".join([*texts, *([f"{rest} undecided"] if rest else [])])


def interval_text(finding: Finding) -> str:
    """Return ``low … high``, or a dash if there is no interval."""
    return "–" if math.isnan(finding.low) else f"{number(finding.low)} … {number(finding.high)}"


def verdict_lines(judged: Judged) -> list[str]:
    """Return one line per claim and sub-claim for a terminal."""
    lines = []
    for verdict in judged.rows:
        finding = verdict.finding
        unit = "" if finding.unit == "1" else f" {finding.unit}"
        effect = "" if math.isnan(finding.effect) else f"  [{number(finding.effect)}; {interval_text(finding)}{unit}]"
        p_value = "" if math.isnan(verdict.p_holm) else f"  p = {number(verdict.p_holm)} (Holm)"
        indent = "  " if len(verdict.id) > 2 else ""
        lines.append(f"{indent}{verdict.id:<4} {verdict_text(verdict):<9}  {verdict.statement}{effect}{p_value}")
    return lines
