"""Final NLL against final Fréchet distance, with rank correlation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from nllgen_analysis.captions import cite
from nllgen_analysis.figures.frechet import EXTRACTORS
from nllgen_analysis.figures.missing import with_absent
from nllgen_analysis.figures.points import (
    COLUMNS,
    NAMES,
    describe_points,
    draw_points,
    likelihood,
    markers_of,
    point_data,
    point_handles,
)
from nllgen_analysis.figures.style import (
    GREY,
    Drawn,
    FigureResult,
    NotDrawn,
    legend_below,
    new_figure,
    set_scale,
)
from nllgen_analysis.frames import Frames
from nllgen_analysis.statistics import rank_correlation
from nllgen_analysis.text import MINUS, number

TITLE = "Likelihood against image quality"


def draw_scatter(frames: Frames) -> list[FigureResult]:
    """One figure a feature extractor, a panel a source: every cell's last weights, colour by degree."""
    return [_draw_extractor(frames, extractor) for extractor in EXTRACTORS]


def scatter_data(frames: Frames, extractor: str) -> pd.DataFrame:
    """The plotted numbers, ``points.COLUMNS``: a panel a source, likelihood along x, Fréchet distance along y."""
    rows = frames.final[(frames.final["weights"] == "last") & (frames.final["role"] != "truth")]
    rows = rows.assign(floor=rows[f"frechet_floor_{extractor}"])
    y_label = f"Fréchet distance\n({EXTRACTORS[extractor]} features, unitless)"
    parts = []
    for source, name in NAMES.items():
        with_both = rows[(rows["source"] == source) & np.isfinite(rows[f"frechet_{extractor}"].astype(float))]
        if found := likelihood(with_both, source):
            column, label = found
            labels = (label, y_label)
            parts.append(point_data(with_both, column, f"frechet_{extractor}", panel=name, labels=labels))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def _draw_extractor(frames: Frames, extractor: str) -> FigureResult:
    title = f"{TITLE} ({EXTRACTORS[extractor]} features)"
    data = scatter_data(frames, extractor)
    if data.empty:
        reason = (
            f"no cell has both a final NLL and a final Fréchet distance on {EXTRACTORS[extractor]} features "
            f"({frames.counts_text})"
        )
        return NotDrawn(f"nll_frechet_{extractor}", title, reason)
    panels = list(data["panel"].unique())
    markers = markers_of(data)
    figure = new_figure(1, len(panels), row_height=2.7, extra=0.6)
    texts = []
    for ax, panel in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
        texts.append(_draw_panel(ax, data[data["panel"] == panel]))
        draw_points(ax, data[data["panel"] == panel], markers)
    legend_below(figure, point_handles(data, markers))
    data, absent = with_absent(data, frames.cells[frames.cells["role"] != "truth"])
    caption = (
        f"{describe_points()} Dotted grey: floor at equal N. Spearman's ρ over cells, with its 95 % interval of a "
        f"bootstrap over seeds, describes and does not test; it is conditional on these groups: {'; '.join(texts)}. "
        f"{absent}"
    )
    return Drawn(f"nll_frechet_{extractor}", title, figure, data, caption.strip())


def _draw_panel(ax: Axes, data: pd.DataFrame) -> str:
    """Floor, scales and title; gives the correlation as text."""
    panel, cells = data["panel"].iloc[0], data[data["kind"] == "cell"]
    floor = data["floor"].astype(float)
    if np.isfinite(floor).any():
        ax.axhline(floor[np.isfinite(floor)].mean(), color=GREY, linestyle=":", linewidth=1.2, zorder=0)
    set_scale(ax, "x", data["x"])
    set_scale(ax, "y", pd.concat([data["y"], floor]))
    found = rank_correlation(cells["x"], cells["y"], cells["seed"])
    if np.isnan(found.rho):
        ax.set_title(f"{panel} (n = {found.num})")
        return cite(f"{panel}: not defined (n = {found.num})", cells["cell_id"])
    ax.set_title(f"{panel}, ρ = {found.rho:.2f} (n = {found.num})".replace("-", MINUS))
    interval = found.note or f"{number(found.low, 2)} … {number(found.high, 2)}"
    return cite(f"{panel}: ρ = {number(found.rho, 2)} ({interval}; n = {found.num})", cells["cell_id"])
