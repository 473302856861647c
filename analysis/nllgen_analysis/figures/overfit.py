"""The overfit index over training: how far a model's density exceeds the truth's on the training images."""

from __future__ import annotations

import pandas as pd

from nllgen_analysis.figures import curves, panels, scales, style
from nllgen_analysis.figures.style import Drawn, FigureResult, NotDrawn
from nllgen_analysis.frames import Frames

NAME, TITLE = "overfit", "Overfit index over training by degree"
GRID = panels.Grid(share_x=True, x_label="optimiser steps", y_label="overfit index (nats per image)")


def draw_overfit(frames: Frames) -> list[FigureResult]:
    """Draw one figure per setting of synthetic data: a panel per paradigm, a colour per degree."""
    rows = curves.measured(curves.raw_from_random(frames), ["overfit_nats"])
    if rows.empty:
        reason = f"no evaluation has an overfit index: that needs synthetic data ({frames.counts_text})"
        return [NotDrawn(NAME, TITLE, reason)]
    return panels.draw_settings(rows, NAME, TITLE, lambda own: _draw_setting(frames, own))


def overfit_data(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the plotted numbers of one setting, ``curves.COLUMNS``: a panel per paradigm, degrees in their order."""
    rows = curves.by_degree(rows)
    parts = [
        curves.curve_data(part, "overfit_nats", panel=str(paradigm), hue="student")
        for paradigm, part in rows.groupby("paradigm")
    ]
    return curves.in_order(pd.concat(parts, ignore_index=True), rows["series"])


def _draw_setting(frames: Frames, rows: pd.DataFrame) -> Drawn:
    data, setting = overfit_data(rows), rows["setting"].iloc[0]
    styles = curves.series_styles(data)
    figure, axes = GRID.draw(sorted(data["panel"].unique()))
    for panel, ax in axes.items():
        part = data[data["panel"] == panel]
        curves.draw_curves(ax, part, style.degree_colour, styles)
        style.reference_line(ax, 0)
        scales.minor_ticks(ax, "x")
        shown = pd.concat([scales.without_startup(part), pd.Series([0.0])])
        if scales.set_scale(ax, "y", shown) == "linear":
            scales.pad_limits(ax, shown, 0.06)
    style.legend_below(figure, curves.legend_handles(data, style.degree_colour, styles))
    texts = [
        f"Mean over training images of log q − log p, by degree, trained on {setting}; above 0 the model gives them a "
        "higher density than the truth that they were drawn from.",
        curves.describe_means(),
        *(
            f"In nats at the last evaluation, trained by {paradigm}: {curves.ends_text(part) or 'none finite'}."
            for paradigm, part in data.groupby("panel")
        ),
        "The vertical axis may leave out start-up values far from the rest of their series; the CSV has all.",
        curves.diverged_text(data),
    ]
    name, planned = f"{NAME}_{rows['slug'].iloc[0]}", curves.planned_cells(frames, setting)
    return panels.finish(name, f"{TITLE}: {setting}", figure, data, texts, planned)
