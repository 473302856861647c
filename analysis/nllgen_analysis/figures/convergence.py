"""Normalised convergence by degree, which compares how models of all sizes learn."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from nllgen_analysis.claims.degrees import curve_distance, normalised
from nllgen_analysis.figures import curves, panels, scales, style
from nllgen_analysis.figures.style import FigureResult, NotDrawn
from nllgen_analysis.frames import Frames
from nllgen_analysis.text import cite, number

NAME, TITLE = "convergence", "Normalised convergence by degree"
GRID = panels.Grid(x_label="optimiser steps", y_label="training NLL still to be gained\n(share, unitless)")


def draw_convergence(frames: Frames) -> list[FigureResult]:
    """Draw one figure per setting: the share of its improvement that training by NLL has still to make, over steps."""
    rows = frames.eval[(frames.eval["weights"] == "raw") & (frames.eval["paradigm"] == "nll")]
    rows = rows[(rows["start"] == "random") & (rows["outcome"] == "done") & (rows["role"] != "truth")]
    rows = convergence_rows(rows)
    if rows.empty:
        reason = (
            f"no finished cell trained by nll from a random start has a training NLL that falls ({frames.counts_text})"
        )
        return [NotDrawn(NAME, TITLE, reason)]
    return panels.draw_settings(rows, NAME, TITLE, lambda own: _draw_setting(frames, own))


def convergence_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Add ``remaining`` = (L − L_end)/(L_0 − L_end) to the rows of cells whose training NLL L ends below its start."""
    rows = rows.sort_values("step", kind="stable")
    known = panels.finite(rows, "train_nll_nats")
    parts = [
        part.assign(remaining=normalised(curve).to_numpy())
        for _, part in known.groupby("cell", sort=False)
        if len(normalised(curve := part.set_index("step")["train_nll_nats"].astype(float)))
    ]
    return pd.concat(parts) if parts else known.iloc[:0].assign(remaining=pd.Series(dtype=float))


def convergence_data(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the plotted numbers of one setting, ``curves.COLUMNS``, from rows of :func:`convergence_rows`."""
    rows = curves.by_degree(rows)
    data = curves.curve_data(rows, "remaining", panel="convergence", hue="student")
    return curves.in_order(data, rows["series"])


def _draw_setting(frames: Frames, rows: pd.DataFrame) -> panels.Parts:
    data, setting = convergence_data(rows), rows["setting"].iloc[0]
    styles = curves.series_styles(data)
    figure, axes = GRID.draw([setting])
    curves.draw_curves(axes[setting], data, style.degree_colour, styles)
    style.reference_line(axes[setting], 0)
    scales.minor_ticks(axes[setting], "x")
    style.legend_below(figure, curves.legend_handles(data, style.degree_colour, styles))
    texts = [
        f"(L − L_end)/(L_0 − L_end) of the training NLL L, by degree, trained by nll from a random start on {setting}.",
        curves.describe_means(),
        _largest_distance(data),
    ]
    cells = curves.planned_cells(frames, setting)
    is_trained = (cells["paradigm"] == "nll") & (cells["start"] == "random") & (cells["steps"] > 0)
    return figure, data, texts, cells[is_trained & (cells["role"] != "truth")]


def _largest_distance(data: pd.DataFrame) -> str:
    """Return the largest distance between two mean curves, measured as C4 does between seeds."""
    means = {name: part.set_index("x")["value"] for name, part in data[data["kind"] == "mean"].groupby("series")}
    distances = [(curve_distance(means[a], means[b], 2), a, b) for a, b in itertools.combinations(means, 2)]
    known = [item for item in distances if np.isfinite(item[0])]
    if not known:
        return ""
    distance, first, second = max(known)
    cells = data.loc[data["series"].isin([first, second]) & (data["kind"] == "seed"), "cell_id"]
    return f"The means of {first} and {second} are furthest apart, by {cite(number(distance), cells)}."
