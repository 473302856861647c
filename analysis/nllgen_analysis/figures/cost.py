"""Seconds of training against KL or NLL and against the Fréchet distance."""

from __future__ import annotations

import pandas as pd

from nllgen_analysis.figures import panels, points, scales, style
from nllgen_analysis.figures.style import EXTRACTORS, FigureResult, NotDrawn
from nllgen_analysis.frames import Frames
from nllgen_analysis.text import listing

NAME, TITLE = "cost", "Cost against quality"
GRID = panels.Grid(columns=2, extra=0.6)
X_LABEL = "training time (s)"


def draw_cost(frames: Frames) -> list[FigureResult]:
    """Draw one figure: likelihood and Fréchet distances of each source against the time of training."""
    data = cost_data(frames)
    if data.empty:
        return [NotDrawn(NAME, TITLE, f"no trained cell has a time and a final metric ({frames.counts_text})")]
    markers = points.markers_of(data)
    figure, axes = GRID.draw(list(data["panel"].unique()))
    texts = [points.describe_points(), _conditions(frames)]
    for panel, ax in axes.items():
        part = data[data["panel"] == panel]
        scales.set_scale(ax, "x", part["x"])
        scales.set_scale(ax, "y", part["y"])
        points.draw_points(ax, part, markers)
        texts.append(f"{panel}: {points.means_text(part, ('seconds', 'value'))}.")
    style.legend_below(figure, points.point_handles(data, markers))
    return [panels.finish(NAME, TITLE, figure, data, texts, _trained(frames.cells))]


def cost_data(frames: Frames) -> pd.DataFrame:
    """Return the plotted numbers, ``points.COLUMNS``: a panel per source and measure, seconds of training along x."""
    rows = points.final_rows(frames).drop(columns=["step"])
    rows = _trained(rows.join(frames.cells[["steps", "seconds_per_step"]], on="cell"))
    rows = rows.assign(training_s=rows["steps"] * rows["seconds_per_step"].astype(float))
    parts = []
    for source, name in points.NAMES.items():
        own = rows[rows["source"] == source]
        if measure := points.likelihood(own, source):
            column, label = measure
            panel = f"{name}, {label.split(' (')[0]}"
            parts.append(points.point_data(own, "training_s", column, panel=panel, labels=(X_LABEL, label)))
        for extractor, features in EXTRACTORS.items():
            panel, labels = f"{name}, Fréchet distance ({features})", (X_LABEL, style.frechet_label(extractor))
            parts.append(points.point_data(own, "training_s", f"frechet_{extractor}", panel=panel, labels=labels))
    return points.join_panels(parts)


def _trained(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of cells that take steps; W* takes none."""
    return rows[(rows["role"] != "truth") & (rows["steps"] > 0)]


def _conditions(frames: Frames) -> str:
    ran = frames.cells[(frames.cells["role"] != "truth") & (frames.cells["device"] != "")]
    devices = ran[["device", "num_threads"]].drop_duplicates().sort_values(["device", "num_threads"])
    names = [
        f"{row.device} with {row.num_threads:.0f} thread{'s' * (row.num_threads != 1)}"
        for row in devices.itertuples(index=False)
    ]
    return (
        f"Time is of training steps alone, without measuring, on {listing(names)}. The cheaper and the better, the "
        "further down and to the left."
    )
