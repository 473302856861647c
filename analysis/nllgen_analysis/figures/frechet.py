"""Fréchet distance over training by paradigm, one figure per setting and feature extractor."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from nllgen_analysis.figures import curves, panels, scales, style
from nllgen_analysis.figures.style import EXTRACTORS, GREY, FigureResult, paradigm_colour
from nllgen_analysis.frames import Frames, student_order

TITLE = "Fréchet distance over training by paradigm"
X_LABELS = {"epoch": "epochs", "step": "optimiser steps"}


def draw_frechet(frames: Frames) -> list[FigureResult]:
    """Draw Fréchet distances over epochs, or steps on fresh samples: a panel per degree, a colour per paradigm."""
    return [result for extractor in EXTRACTORS for result in _draw_extractor(frames, extractor)]


def _draw_extractor(frames: Frames, extractor: str) -> list[FigureResult]:
    name, title = f"frechet_{extractor}", f"{TITLE} ({EXTRACTORS[extractor]} features)"
    rows = curves.measured(frames.eval, [name])
    draw = partial(_draw_setting, extractor=extractor)
    lack = f"no evaluation has a Fréchet distance on {EXTRACTORS[extractor]} features"
    return panels.draw_settings(frames, rows, name, title, draw, lack)


def frechet_data(rows: pd.DataFrame, extractor: str) -> pd.DataFrame:
    """Return the plotted numbers of one setting: a panel per student; kind ``floor`` is the floor at equal N."""
    ema = rows["weights"].map({"ema": "EMA"}).fillna("")
    names = rows["paradigm"].str.cat([ema, rows["variant"]], sep=" ").str.replace("  ", " ").str.strip()
    # the EMA of a cell is a curve of its own: one row per cell, weights and step
    rows = rows.assign(series=names).sort_values(["paradigm", "series"], kind="stable")
    x = x_column(rows)
    parts = []
    for student in student_order(rows["student"]):
        for weights in ("raw", "ema"):
            chosen = rows[(rows["student"] == student) & (rows["weights"] == weights)]
            if len(chosen):
                curve = curves.curve_data(chosen, f"frechet_{extractor}", panel=student, hue="paradigm", x=x)
                parts.append(curve.assign(weights=weights))
    floor = panels.finite(rows, f"frechet_floor_{extractor}")[f"frechet_floor_{extractor}"].astype(float)
    if len(floor):
        parts.append(pd.DataFrame({"panel": ["all"], "kind": ["floor"], "value": [floor.mean()]}))
    return pd.concat(parts, ignore_index=True).assign(x_unit=x)


def x_column(rows: pd.DataFrame) -> str:
    """Return ``epoch`` if every row has one, else ``step``; fresh samples have no epochs."""
    epochs = rows["epoch"].astype(float)
    has_epochs = np.isfinite(epochs).all() and epochs.max() > 0 and (rows["num_train"] != "fresh").all()
    return "epoch" if has_epochs else "step"


def _draw_setting(frames: Frames, rows: pd.DataFrame, extractor: str) -> panels.Parts:
    data, setting = frechet_data(rows, extractor), rows["setting"].iloc[0]
    drawn, floor = data[data["kind"] != "floor"], data.loc[data["kind"] == "floor", "value"]
    styles = curves.series_styles(drawn.sort_values(["weights", "series"], ascending=[False, True]))
    x_label = X_LABELS[str(drawn["x_unit"].iloc[0])]
    grid = panels.Grid(
        row_height=2.1, share_x=True, share_y=True, x_label=x_label, y_label=style.frechet_label(extractor)
    )
    figure, axes = grid.draw(list(drawn["panel"].unique()))
    for panel, ax in axes.items():
        curves.draw_curves(ax, drawn[drawn["panel"] == panel], paradigm_colour, styles)
        for value in floor:
            style.floor_line(ax, value)
    scales.set_scale(figure.axes[0], "y", pd.concat([drawn["value"], floor]))
    scales.minor_ticks(figure.axes[0], "x")
    handles = curves.legend_handles(drawn.sort_values("series"), paradigm_colour, styles)
    if len(floor):
        handles.append(style.line_key("floor", GREY, ":"))
    style.legend_below(figure, handles)
    texts = _caption(frames, drawn, floor, f"{setting}, both quantised to 8 bit, {EXTRACTORS[extractor]}")
    return figure, data, texts, frames.cells[frames.cells["setting"] == setting]


def _caption(frames: Frames, drawn: pd.DataFrame, floor: pd.Series, compared_to: str) -> list[str]:
    metrics = frames.study.get("metrics", {})
    num = metrics.get("num_samples_every") or metrics.get("num_samples")
    samples = f"{num:,} model samples" if isinstance(num, int) else "model samples"
    ends = (
        f"{panel}: {curves.ends_text(rows) or 'none finite'}." for panel, rows in drawn.groupby("panel", sort=False)
    )
    return [
        f"Fréchet distance of {samples} against the validation images of {compared_to} features, by degree.",
        curves.DESCRIPTION,
        f"Dotted grey: floor, reference against reference at equal N, {floor.iloc[0]:.3g}." if len(floor) else "",
        "At the last evaluation:",
        *ends,
        curves.diverged_text(drawn),
    ]
