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
from nllgen_analysis import opening, tables
from nllgen_analysis.claims import Judged
from nllgen_analysis.figures.style import NotDrawn
from nllgen_analysis.figures.vector import dark_properties, glyph_sheet
from nllgen_analysis.frames import Frames
from nllgen_analysis.page_figures import FILES, PageFigure, strongest_first
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
from nllgen_analysis.page_verdicts import Standing, verdict_rows
from nllgen_analysis.text import CONDITION, number
from nllgen_analysis.trials import Trials

# uPlot is of another project: uplot/source.json names its version, licence and checksums
SCRIPTS = ("uplot/uPlot.iife.min.js", "report.js", "report_curves.js")
STYLES = ("uplot/uPlot.min.css", "report.css")
# of the claims that the page folds away
HEADINGS = {
    Standing.UNDECIDED: "Undecided",
    Standing.UNJUDGED: "Not judged, as no cells of this study have the numbers for them",
}


def render_report(
    frames: Frames,
    judged: Judged,
    findings: list[str],
    figures: list[PageFigure],
    absent: list[NotDrawn],
    source_sha256: str,
    trials: Trials | None = None,
) -> str:
    """Return the whole page: ``findings`` at its head, ``figures``, ``absent`` ones with the reasons.

    ``trials`` of a tuning study take the place of the verdicts.
    """
    script, figures = _script(), strongest_first(figures)
    return _environment().get_template("report.html.j2").render(
        # files of the package and drawn letters are not escaped, unlike the texts of the study
        script=Markup(script),
        css=Markup("\n".join(map(_resource, STYLES)) + _dark_figures(frames, figures)),
        glyphs=Markup(glyph_sheet(figure.drawn for figure in figures)),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **_opening(frames),
        findings=findings,
        **_trials(trials),
        verdicts=verdict_rows(judged),
        headings=HEADINGS,
        **_rules(judged),
        warnings=tables.warnings_of(frames),
        figures=figures,
        strongest=figures[0] if figures else None,
        files=FILES,
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
    )  # fmt: skip


def _opening(frames: Frames) -> dict[str, Any]:
    """Return what the page opens with: what ran and what is missing, the key numbers and the legend."""
    return {
        "name": frames.name,
        "counts": frames.counts,
        "total": sum(frames.counts.values()),
        "ran": opening.what_ran(frames),
        "lacks": opening.what_lacks(frames),
        "key_numbers": opening.key_numbers(frames),
        "degrees": opening.degree_keys(frames),
        "paradigms": opening.paradigm_keys(frames),
    }


def _trials(trials: Trials | None) -> dict[str, Any]:
    """Return what the page says of the trials of a tuning study."""
    if trials is None:
        return {"trials": None, "has_winners": False}
    return {"trials": trial_rows(trials), "has_winners": trials.tuning is not None}


def _rules(judged: Judged) -> dict[str, Any]:
    """Return what the page says of the rules."""
    return {
        "rules_status": judged.status,
        "has_p": judged.has_p_values,
        "rules_file": PATHS[judged.version].name,
        "rules_text": judged.status_text,
    }


def _script() -> str:
    """Return the scripts of the page, with the licence of those that are of another project."""
    return f"/*\n{_resource('uplot/LICENSE')}*/\n" + "\n".join(map(_resource, SCRIPTS))


def _resource(name: str) -> str:
    return resources.files("nllgen_analysis").joinpath(name).read_text("utf-8")


def _environment() -> jinja2.Environment:
    """Return templates that escape every text and refuse undefined names."""
    return jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_resource),
    )  # fmt: skip


def _dark_figures(frames: Frames, figures: list[PageFigure]) -> str:
    """Return the rule that gives the figures other colours on a dark screen; paper stays light."""
    colours = opening.key_colours(frames).union(*(figure.drawn.colours for figure in figures))
    return f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark_properties(colours)} }} }}\n"


def _entropies(datasets: pd.DataFrame) -> list[str]:
    if "entropy_nats" not in datasets:
        return []
    errors = datasets.get("entropy_se_nats", pd.Series([float("nan")] * len(datasets)))
    return [
        f"H(p) = {number(float(entropy), 6)} ± {number(float(error), 2)} nats (± standard error), truth {truth}"
        for truth, entropy, error in zip(datasets["truth_id"], datasets["entropy_nats"], errors, strict=True)
    ]
