"""Precision against recall: how many samples look real, and how much of what is real is covered."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from nllgen_analysis.figures.frechet import EXTRACTORS
from nllgen_analysis.figures.missing import with_absent
from nllgen_analysis.figures.points import (
    COLUMNS,
    NAMES,
    describe_points,
    draw_points,
    markers_of,
    means_text,
    point_data,
    point_handles,
)
from nllgen_analysis.figures.style import GREY, Drawn, FigureResult, NotDrawn, legend_below, new_figure
from nllgen_analysis.frames import Frames
from nllgen_analysis.text import number

TITLE = "Precision and recall"
FLOOR = "reference"


def draw_plane(frames: Frames) -> list[FigureResult]:
    """One figure a feature extractor, a panel a source."""
    return [_draw_extractor(frames, extractor) for extractor in EXTRACTORS]


def plane_data(frames: Frames, extractor: str) -> pd.DataFrame:
    """The plotted numbers, ``points.COLUMNS``: recall along x, precision along y; kind ``reference`` is the floor."""
    rows = frames.final[(frames.final["weights"] == "last") & (frames.final["role"] != "truth")]
    labels = ("recall (share of references)", "precision (share of samples)")
    columns = (f"recall_{extractor}", f"precision_{extractor}")
    floors = [f"recall_floor_{extractor}", f"precision_floor_{extractor}"]
    parts = []
    for source, name in NAMES.items():
        own = rows[rows["source"] == source]
        points = point_data(own, *columns, panel=name, labels=labels)
        known = own[np.isfinite(own[floors].astype(float)).all(axis=1)]
        if len(points) and len(known):
            x, y = known[floors].astype(float).mean()
            points = pd.concat([points, pd.DataFrame([{"panel": name, "kind": FLOOR, "x": x, "y": y}])])
        parts.append(points)
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(COLUMNS))


def _draw_extractor(frames: Frames, extractor: str) -> FigureResult:
    features = EXTRACTORS[extractor]
    name, title = f"precision_recall_{extractor}", f"{TITLE} ({features} features)"
    data = plane_data(frames, extractor)
    if data.empty:
        reason = f"no cell has precision and recall on {features} features ({frames.counts_text})"
        return NotDrawn(name, title, reason)
    panels = list(data["panel"].unique())
    figure = new_figure(1, len(panels), row_height=2.7, extra=0.6)
    markers = markers_of(data)
    for ax, panel in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
        part = data[data["panel"] == panel]
        draw_points(ax, part, markers)
        _decorate(ax, part)
    handles = point_handles(data, markers)
    if (data["kind"] == FLOOR).any():
        handles.append(Line2D([], [], color=GREY, marker="+", markersize=9, linestyle="", label="reference at equal N"))
    legend_below(figure, handles)
    caption = _caption(frames, data, features)
    data, absent = with_absent(data, frames.cells[frames.cells["role"] != "truth"])
    return Drawn(name, title, figure, data, f"{caption} {absent}".strip())


def _decorate(ax: Axes, data: pd.DataFrame) -> None:
    floor = data[data["kind"] == FLOOR]
    ax.plot(floor["x"], floor["y"], "+", color=GREY, markersize=9, markeredgewidth=1.4, zorder=1)
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(-0.03, 1.03)
    ax.set_title(data["panel"].iloc[0])


def _caption(frames: Frames, data: pd.DataFrame, features: str) -> str:
    num = frames.study.get("metrics", {}).get("num_samples")
    texts = [
        f"Precision is the share of {f'{num:,} ' if isinstance(num, int) else ''}model samples within the k nearest "
        f"neighbours' reach of a reference image, recall the share of references within that of a sample; k = 5, "
        f"{features} features. Both depend on N and on the features.",
        describe_points(),
    ]
    for panel, part in data.groupby("panel", sort=False):
        floor = part[part["kind"] == FLOOR]
        cross = (
            f"cross: recall {number(floor['x'].iloc[0])}, precision {number(floor['y'].iloc[0])}; "
            if len(floor)
            else ""
        )
        texts.append(f"{panel}: {cross}{means_text(part, ('recall', 'precision'))}.")
    return " ".join(texts)
