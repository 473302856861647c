"""report.html: one file without external references; every text is escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from nllgen.study.claims import PATHS
from nllgen_analysis import tables
from nllgen_analysis.claims import Finding, Judged, Verdict
from nllgen_analysis.claims.tables import interval_text, verdict_text
from nllgen_analysis.figures.style import Drawn, NotDrawn
from nllgen_analysis.frames import Frames, student_order
from nllgen_analysis.page_tables import (
    anchors,
    cell_rows,
    final_rows,
    group_rows,
    outcome_cells,
    plain_rows,
    resource_rows,
    trial_rows,
)
from nllgen_analysis.text import CONDITION, number, spans
from nllgen_analysis.trials import Trials

PIXELS_PER_INCH = 132  # 8-point letters of a figure are as large as small text of the page


def figure_row(drawn: Drawn, png: bytes) -> dict[str, Any]:
    """Return a figure for the page, with its width in proportion to the width in print."""
    return {
        "name": drawn.name,
        "title": drawn.title,
        "spans": spans(drawn.caption),
        "uri": "data:image/png;base64," + base64.b64encode(png).decode(),
        "width_px": round(drawn.figure.get_figwidth() * PIXELS_PER_INCH),
        "cell_ids": drawn.cell_ids,
    }


def render_report(
    frames: Frames,
    judged: Judged,
    findings: list[str],
    figures: list[dict[str, Any]],
    absent: list[NotDrawn],
    source_sha256: str,
    trials: Trials | None = None,
) -> str:
    """Return the whole page: ``findings`` at its head, rows of ``figures``, ``absent`` ones with the reasons.

    ``trials`` of a tuning study take the place of the verdicts.
    """
    script = _resource("report.js")
    return _template(_resource("report.html.j2")).render(
        # files of the package are not escaped, unlike the texts of the study
        script=Markup(script),
        css=Markup(_resource("report.css")),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        name=frames.name,
        counts=frames.counts,
        total=sum(frames.counts.values()),
        ran=what_ran(frames),
        findings=findings,
        verdicts=[_verdict_row(verdict) for verdict in judged.rows],
        trials=trial_rows(trials) if trials else None,
        rules_status=judged.status,
        has_p=judged.has_p_values,
        rules_file=PATHS[judged.version].name,
        rules_text=judged.status_text,
        warnings=tables.warnings_of(frames),
        figures=figures,
        absent=absent,
        by_outcome=outcome_cells(frames),
        groups=group_rows(frames),
        final=final_rows(frames),
        resources=resource_rows(frames),
        cells=cell_rows(frames),
        anchors=anchors(frames),
        datasets=plain_rows(frames.datasets),
        entropies=_entropies(frames.datasets),
        provenance=plain_rows(tables.provenance_table(frames)),
        condition=CONDITION,
        source_sha256=source_sha256,
    )


def _resource(name: str) -> str:
    return resources.files("nllgen_analysis").joinpath(name).read_text("utf-8")


def _template(text: str) -> jinja2.Template:
    """Return a template that escapes every text and refuses undefined names."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)


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


def what_ran(frames: Frames) -> str:
    """Return a sentence with the degrees, paradigms, data and seeds of the study."""
    cells = frames.cells[frames.cells["role"] != "truth"]
    if cells.empty:
        return "The study has no cells."
    groups = tables.groups_table(frames)
    seeds = sorted(int(seed) for seed in cells["seed"].unique())
    span = f"{seeds[0]}…{seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    shipped = frames.study.get("pretrained")
    truth = f" Its truth is {shipped}, which ships with nllgen." if shipped else ""
    truth = " A truth was trained first." if (frames.cells["role"] == "truth").any() else truth
    return (
        f"{len(cells)} cells in {len(groups)} groups: degrees {', '.join(student_order(groups['student']))}; paradigms "
        f"{', '.join(sorted(cells['paradigm'].unique()))}; data {'; '.join(groups['setting'].unique())}; {len(seeds)} "
        f"{'seeds' if len(seeds) > 1 else 'seed'} ({span}).{truth}"
    )


def _entropies(datasets: pd.DataFrame) -> list[str]:
    if "entropy_nats" not in datasets:
        return []
    errors = datasets.get("entropy_se_nats", pd.Series([float("nan")] * len(datasets)))
    return [
        f"H(p) = {number(float(entropy), 6)} ± {number(float(error), 2)} nats (± standard error), truth {truth}"
        for truth, entropy, error in zip(datasets["truth_id"], datasets["entropy_nats"], errors, strict=True)
    ]
