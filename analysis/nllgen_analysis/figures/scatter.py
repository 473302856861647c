"""Final NLL against final Fréchet distance, with rank correlation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from nllgen_analysis.captions import cite
from nllgen_analysis.figures import panels, points, scales, style
from nllgen_analysis.figures.style import EXTRACTORS, FigureResult, NotDrawn
from nllgen_analysis.frames import Frames
from nllgen_analysis.statistics import rank_correlation
from nllgen_analysis.text import MINUS, number

TITLE = "Likelihood against image quality"
GRID = panels.Grid(columns=2, row_height=2.7, extra=0.6)


def draw_scatter(frames: Frames) -> list[FigureResult]:
    """Draw one figure per feature extractor: a panel per source, a point per cell, colours by degree."""
    return [_draw_extractor(frames, extractor) for extractor in EXTRACTORS]


def scatter_data(frames: Frames, extractor: str) -> pd.DataFrame:
    """Return the plotted numbers, ``points.COLUMNS``: likelihood along x, Fréchet distance along y."""
    y, y_label = f"frechet_{extractor}", style.frechet_label(extractor)
    rows = points.final_rows(frames)
    rows = panels.finite(rows.assign(floor=rows[f"frechet_floor_{extractor}"]), y)
    parts = []
    for source, name in points.NAMES.items():
        if measure := points.likelihood(rows, source):
            x, label = measure
            own = rows[rows["source"] == source]
            parts.append(points.point_data(own, x, y, panel=name, labels=(label, y_label)))
    return points.join_panels(parts)


def _draw_extractor(frames: Frames, extractor: str) -> FigureResult:
    name, title = f"nll_frechet_{extractor}", f"{TITLE} ({EXTRACTORS[extractor]} features)"
    data = scatter_data(frames, extractor)
    if data.empty:
        reason = (
            f"no cell has both a final NLL and a final Fréchet distance on {EXTRACTORS[extractor]} features "
            f"({frames.counts_text})"
        )
        return NotDrawn(name, title, reason)
    markers = points.markers_of(data)
    figure, axes = GRID.draw(list(data["panel"].unique()))
    correlations = []
    for panel, ax in axes.items():
        part = data[data["panel"] == panel]
        correlations.append(_decorate(ax, part))
        points.draw_points(ax, part, markers)
    style.legend_below(figure, points.point_handles(data, markers))
    texts = [
        points.describe_points(),
        "Dotted grey: floor at equal N. Spearman's ρ over cells, with its 95 % interval of a bootstrap over seeds, "
        f"describes and does not test; it is conditional on these groups: {'; '.join(correlations)}.",
    ]
    return panels.finish(name, title, figure, data, texts, frames.cells[frames.cells["role"] != "truth"])


def _decorate(ax: Axes, data: pd.DataFrame) -> str:
    """Draw floor, scales and title, and return the correlation as text."""
    panel, cells = data["panel"].iloc[0], data[data["kind"] == "cell"]
    floor = data["floor"].astype(float)
    if np.isfinite(floor).any():
        style.floor_line(ax, floor[np.isfinite(floor)].mean())
    scales.set_scale(ax, "x", data["x"])
    scales.set_scale(ax, "y", pd.concat([data["y"], floor]))
    correlation = rank_correlation(cells["x"], cells["y"], cells["seed"])
    num, rho = correlation.num, correlation.rho
    if np.isnan(rho):
        ax.set_title(f"{panel} (n = {num})")
        return cite(f"{panel}: not defined (n = {num})", cells["cell_id"])
    ax.set_title(f"{panel}, ρ = {rho:.2f} (n = {num})".replace("-", MINUS))
    interval = correlation.note or f"{number(correlation.low, 2)} … {number(correlation.high, 2)}"
    return cite(f"{panel}: ρ = {number(rho, 2)} ({interval}; n = {num})", cells["cell_id"])
