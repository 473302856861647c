"""Precision against recall: the share of samples that look real, and the share of real images that are covered."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from nllgen_analysis.figures import panels, points, style
from nllgen_analysis.figures.style import EXTRACTORS, GREY, FigureResult, NotDrawn
from nllgen_analysis.frames import Frames
from nllgen_analysis.text import number

TITLE = "Precision and recall"
GRID = panels.Grid(columns=2, row_height=2.7, extra=0.6)
LABELS = ("recall (share of references)", "precision (share of samples)")
FLOOR = "reference"


def draw_plane(frames: Frames) -> list[FigureResult]:
    """Draw one figure per feature extractor, a panel per source."""
    return [_draw_extractor(frames, extractor) for extractor in EXTRACTORS]


def plane_data(frames: Frames, extractor: str) -> pd.DataFrame:
    """Return the plotted numbers, ``points.COLUMNS``: recall along x, precision along y, floors as ``reference``."""
    rows = points.final_rows(frames)
    floors = [f"recall_floor_{extractor}", f"precision_floor_{extractor}"]
    parts = []
    for source, name in points.NAMES.items():
        own = rows[rows["source"] == source]
        part = points.point_data(own, f"recall_{extractor}", f"precision_{extractor}", panel=name, labels=LABELS)
        known = own[np.isfinite(own[floors].astype(float)).all(axis=1)]
        if len(part) and len(known):
            x, y = known[floors].astype(float).mean()
            part = pd.concat([part, pd.DataFrame([{"panel": name, "kind": FLOOR, "x": x, "y": y}])])
        parts.append(part)
    return points.join_panels(parts)


def _draw_extractor(frames: Frames, extractor: str) -> FigureResult:
    features = EXTRACTORS[extractor]
    name, title = f"precision_recall_{extractor}", f"{TITLE} ({features} features)"
    data = plane_data(frames, extractor)
    if data.empty:
        return NotDrawn(name, title, f"no cell has precision and recall on {features} features ({frames.counts_text})")
    markers = points.markers_of(data)
    figure, axes = GRID.draw(list(data["panel"].unique()))
    for panel, ax in axes.items():
        part = data[data["panel"] == panel]
        points.draw_points(ax, part, markers)
        _decorate(ax, part[part["kind"] == FLOOR])
    handles = points.point_handles(data, markers)
    if (data["kind"] == FLOOR).any():
        handles.append(style.marker_key("reference at equal N", GREY, "+", size=9))
    style.legend_below(figure, handles)
    planned = frames.cells[frames.cells["role"] != "truth"]
    return panels.finish(name, title, figure, data, _caption(frames, data, features), planned)


def _decorate(ax: Axes, floor: pd.DataFrame) -> None:
    ax.plot(floor["x"], floor["y"], "+", color=GREY, markersize=9, markeredgewidth=1.4, zorder=1)
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(-0.03, 1.03)


def _caption(frames: Frames, data: pd.DataFrame, features: str) -> list[str]:
    num = frames.study.get("metrics", {}).get("num_samples")
    texts = [
        f"Precision is the share of {f'{num:,} ' if isinstance(num, int) else ''}model samples within the k nearest "
        f"neighbours' reach of a reference image, recall the share of references within that of a sample; k = 5, "
        f"{features} features. Both depend on N and on the features.",
        points.describe_points(),
    ]
    for panel, part in data.groupby("panel", sort=False):
        crosses = [
            f"cross: recall {number(row.x)}, precision {number(row.y)}; "
            for row in part[part["kind"] == FLOOR].itertuples(index=False)
        ]
        texts.append(f"{panel}: {''.join(crosses)}{points.means_text(part, ('recall', 'precision'))}.")
    return texts
