"""report.html: one file without any outside reference, every text escaped."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from nllgen_analysis import tables
from nllgen_analysis.claims import Finding, Judged, Verdict
from nllgen_analysis.claims.tables import interval_text
from nllgen_analysis.figures.style import NotDrawn
from nllgen_analysis.frames import Frames, student_order
from nllgen_analysis.text import MINUS, number

# column of the cells table → heading; metrics are shown where any cell has them
CELL_COLUMNS = {
    "student": "degree",
    "paradigm": "paradigm",
    "setting": "data",
    "variant": "variant",
    "seed": "seed",
    "outcome": "outcome",
    "num_parameters": "parameters",
    "steps": "steps",
    "seconds_per_step": "s/step",
    "test_nll_nats": "test NLL (nats)",
    "test_bits_per_dim": "bits/dim",
    "kl_nats": "KL (nats)",
    "frechet_lenet": "Fréchet (LeNet)",
    "frechet_inception": "Fréchet (Inception)",
    "host": "host",
}
NUMERIC = frozenset(name for name in CELL_COLUMNS if name not in {
    "student", "paradigm", "setting", "variant", "outcome", "host"
})  # fmt: skip


@dataclass(frozen=True)
class ShownFigure:
    """A drawn figure as the page needs it: its PNG, caption and the cells behind it."""

    name: str
    title: str
    caption: str
    png: bytes
    cell_ids: list[str]

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Value:
    """A table cell: what is shown, and the number that it is sorted by (None: by the text)."""

    text: str
    key: float | None = None

    @property
    def right(self) -> bool:
        """Whether it is aligned like a number."""
        return self.key is not None or self.text == "–"


def render_report(
    frames: Frames, judged: Judged, figures: list[ShownFigure], absent: list[NotDrawn], source_sha256: str
) -> str:
    """The whole page.

    Args:
        frames: the study.
        judged: its verdicts, which come first.
        figures: in the order of the page.
        absent: figures without data, with their reasons.
        source_sha256: of the study.h5 that all of it was read from.
    """
    folder = resources.files("nllgen_analysis")
    script = folder.joinpath("report.js").read_text("utf-8")
    css = folder.joinpath("report.css").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(folder.joinpath("report.html.j2").read_text("utf-8"))
    return template.render(
        # our own files, not the study's text
        script=Markup(script),
        css=Markup(css),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        name=frames.name,
        counts=frames.counts,
        total=sum(frames.counts.values()),
        ran=what_ran(frames),
        verdicts=[_verdict_row(verdict) for verdict in judged.rows],
        rules_status=judged.status,
        rules_text=judged.status_text,
        warnings=tables.warnings_of(frames),
        figures=figures,
        absent=absent,
        groups=_plain_rows(tables.groups_table(frames).rename(columns=CELL_COLUMNS)),
        final=_final_rows(frames),
        cells=_cell_rows(frames),
        anchors=_anchors(frames),
        datasets=_plain_rows(frames.datasets),
        entropies=_entropies(frames.datasets),
        provenance=_plain_rows(tables.provenance_table(frames)),
        source_sha256=source_sha256,
    )


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    found = verdict.finding
    return {
        "id": verdict.id,
        "statement": verdict.statement,
        "is_part": len(verdict.id) > 2,
        "rule": verdict.rule,
        "parts": [] if verdict.subclaims else [line for part in found.parts for line in _part_lines(part, 0)],
        "cells": found.cells,
        **_shown(found),
    }


def _part_lines(part: Finding, depth: int) -> list[dict[str, Any]]:
    return [
        {"label": part.label, "depth": depth, **_shown(part)},
        *(line for inner in part.parts for line in _part_lines(inner, depth + 1)),
    ]


def _shown(found: Finding) -> dict[str, Any]:
    effect = number(found.effect)
    return {
        "verdict": found.verdict,
        "effect": effect if effect == "–" or found.unit == "1" else f"{effect} {found.unit}",
        "interval": interval_text(found),
        "seeds": found.num_seeds,
        "why": found.why,
    }


def what_ran(frames: Frames) -> str:
    """One sentence: which degrees, paradigms, data and seeds."""
    cells = frames.cells[frames.cells["role"] != "truth"]
    if cells.empty:
        return "The study has no cells."
    groups = tables.groups_table(frames)
    seeds = sorted(int(seed) for seed in cells["seed"].unique())
    span = f"{seeds[0]}…{seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    truth = " A truth was trained first." if (frames.cells["role"] == "truth").any() else ""
    return (
        f"{len(cells)} cells in {len(groups)} groups: degrees {', '.join(student_order(groups['student']))}; paradigms "
        f"{', '.join(sorted(cells['paradigm'].unique()))}; data {'; '.join(groups['setting'].unique())}; {len(seeds)} "
        f"{'seeds' if len(seeds) > 1 else 'seed'} ({span}).{truth}"
    )


def _plain_rows(table: pd.DataFrame) -> dict[str, Any]:
    rows = [[_value(item) for item in row] for row in table.itertuples(index=False)]
    return {"columns": [str(name).replace("_", " ") for name in table.columns], "rows": rows}


def _final_rows(frames: Frames) -> dict[str, Any]:
    """The printed table, its ``mean ± half`` texts sorted by the mean."""
    table = tables.printed_table(frames)
    metrics = {"seeds", *tables.MAIN_METRICS.values()}
    rows = [
        [_estimate(text) if name in metrics else Value(text) for name, text in row.items()]
        for row in table.to_dict("records")
    ]
    return {"columns": list(table.columns), "rows": rows}


def _estimate(text: str) -> Value:
    mean = text.split(" ")[0].replace(",", "").replace(MINUS, "-")
    return Value(text, None if mean == "–" or "∞" in mean else float(mean))


def _cell_rows(frames: Frames) -> dict[str, Any]:
    table = tables.cells_table(frames)
    shown = [name for name in CELL_COLUMNS if name in table and not _empty(table[name])]
    rows = [
        {
            "id": row["id"],
            "anchor": f"{row['role']}-{row['id']}",
            "outcome": row["outcome"],
            "title": row["label"],
            "values": [_value(row[name]) for name in shown],
        }
        for row in table.to_dict("records")
    ]
    return {"columns": [(CELL_COLUMNS[name], name in NUMERIC) for name in shown], "rows": rows}


def _anchors(frames: Frames) -> dict[str, str]:
    """Cell id → anchor of its row; a cell comes before the truth's training run with the same id."""
    rows = frames.cells.sort_values("role", ascending=False)[["id", "role"]].itertuples(index=False)
    return {row.id: f"{row.role}-{row.id}" for row in rows}


def _empty(column: pd.Series) -> bool:
    return bool((column.isna() | (column == "")).all())


def _value(value: object) -> Value:
    if isinstance(value, str):
        return Value(value)
    finite = tables.finite_or_none(value)
    if finite is None:
        return Value("–" if value is None or pd.isna(value) else str(value))
    whole = finite.is_integer() and abs(finite) < 1e12
    return Value(f"{int(finite):,}".replace("-", MINUS) if whole else number(finite, 4), finite)


def _entropies(datasets: pd.DataFrame) -> list[str]:
    if "entropy_nats" not in datasets:
        return []
    errors = datasets.get("entropy_se_nats", pd.Series([float("nan")] * len(datasets)))
    return [
        f"H(p) = {number(float(entropy), 6)} ± {number(float(error), 2)} nats (± standard error), truth {truth}"
        for truth, entropy, error in zip(datasets["truth_id"], datasets["entropy_nats"], errors, strict=True)
    ]
