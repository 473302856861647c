"""Precision–recall curves of the final models: every trade-off between fidelity and diversity, with the floor's."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from nllgen.study.metric_groups import EXTRACTORS, NUM_PR_POINTS
from nllgen_analysis.figures import curves, panels, style
from nllgen_analysis.figures.style import GREY, FigureResult, paradigm_colour
from nllgen_analysis.frames import Frames
from nllgen_analysis.text import CONDITION, cite, number

NAME, TITLE = "pr_curve", "Precision and recall"
POINTS = range(1, NUM_PR_POINTS + 1)
SLOPES = {point: math.tan(math.pi / 2 * point / (NUM_PR_POINTS + 1)) for point in POINTS}  # precision : recall
MIDDLE = (NUM_PR_POINTS + 1) // 2  # where precision and recall are equal
COLUMNS = ("panel", "hue", "series", "arm", "kind", "seed", "cell_id", "outcome", "is_dead", "point", "recall", "value",
           "num_seeds", "low", "high", "scale")  # fmt: skip


def draw_pr_curve(frames: Frames) -> list[FigureResult]:
    """Draw a figure per setting: the curve of every arm, a panel per extractor of features."""
    rows = frames.final[(frames.final["weights"] == "last") & (frames.final["role"] != "truth")]
    rows = curves.measured(rows, [_column(MIDDLE, extractor) for extractor in EXTRACTORS])
    lack = "no final metrics have precision–recall curves"
    return panels.draw_settings(frames, rows, NAME, TITLE, _draw_setting, lack)


def _column(point: int, extractor: str, floor: str = "") -> str:
    return f"pr_alpha_{point}{floor}_{extractor}"


def pr_data(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the plotted numbers of one setting: ``value`` is the precision at the ``recall`` of a ``point``.

    Kind ``seed`` is a cell's own curve, ``mean`` that of an arm with the t interval of its precision, ``floor`` that of
    two sets of true images.
    """
    rows = curves.by_paradigm(rows)
    parts = [_extractor_data(rows, extractor) for extractor in EXTRACTORS]
    return pd.concat(parts, ignore_index=True).reindex(columns=list(COLUMNS))


def _extractor_data(rows: pd.DataFrame, extractor: str) -> pd.DataFrame:
    rows = panels.finite(rows, _column(MIDDLE, extractor))
    parts = []
    for point in POINTS:
        values = rows[_column(point, extractor)].astype(float)
        seeds = rows.assign(value=values, point=point, cell_id=rows["id"], arm=rows["series"], hue=rows["paradigm"])
        parts.append(panels.with_means(seeds, ["hue", "series", "arm", "point"]))
        floor = rows[_column(point, extractor, "_floor")].astype(float).mean()
        parts.append(pd.DataFrame({"kind": ["floor"], "value": [floor], "point": [point]}))
    data = pd.concat(parts, ignore_index=True)
    data = data[np.isfinite(data["value"].astype(float))]
    return data.assign(panel=extractor, recall=data["value"] / data["point"].map(SLOPES))


def _draw_setting(frames: Frames, rows: pd.DataFrame) -> panels.Parts:
    data = pr_data(rows)
    drawn = data[data["kind"] != "floor"]
    looked = curves.looks(drawn, paradigm_colour)
    grid = panels.Grid(columns=2, row_height=2.6, x_label="recall", y_label="precision", share_x=True, share_y=True)
    figure, axes = grid.draw([style.EXTRACTORS[name] for name in data["panel"].unique()])
    for panel, ax in zip(data["panel"].unique(), axes.values(), strict=True):
        _draw_panel(ax, data[data["panel"] == panel], looked)
    handles = curves.legend_handles(drawn.assign(is_dead=False, outcome="done"), looked)
    if (data["kind"] == "floor").any():
        handles.append(style.line_key("floor", GREY, ":"))
    style.legend_below(figure, handles)
    own = frames.cells["group"].isin(rows["group"].unique())
    return figure, data, _caption(data), frames.cells[own & (frames.cells["setting"] == rows["setting"].iloc[0])]


def _draw_panel(ax: Axes, data: pd.DataFrame, looked: curves.Looks) -> None:
    colours, styles = looked
    for (series, _), seed in data[data["kind"] == "seed"].groupby(["series", "cell_id"], sort=False):
        ax.plot(*_path(seed), color=colours[series], linestyle=styles[series], alpha=0.3, linewidth=0.6, zorder=1)
    for series, mean in data[data["kind"] == "mean"].groupby("series", sort=False):
        ax.plot(*_path(mean), color=colours[series], linestyle=styles[series], marker=".", markersize=3, zorder=3)
    floor = data[data["kind"] == "floor"]
    if len(floor):
        ax.plot(*_path(floor), color=GREY, linestyle=":", linewidth=1.2, zorder=0)
    ax.set_xlim(-0.02, 1.04)
    ax.set_ylim(-0.02, 1.04)
    ax.set_aspect("equal")


def _path(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    ordered = rows.sort_values("point")
    return ordered["recall"].clip(upper=1.0), ordered["value"].clip(upper=1.0)


def _caption(data: pd.DataFrame) -> list[str]:
    texts = [
        f"Precision and recall of samples against test images, at {NUM_PR_POINTS} ratios of the two; last weights. "
        "Faint: seeds; bold: the mean precision over seeds at each ratio. A model that draws few kinds of images well "
        "is high on the left, one that draws all of them badly low on the right. The floor, two sets of true images, "
        f"is what a perfect model would reach. Intervals are {CONDITION}."
    ]
    middle = data[data["point"] == MIDDLE]
    for panel, rows in middle.groupby("panel", sort=False):
        parts = [_mean_text(rows, mean) for mean in rows[rows["kind"] == "mean"].to_dict("records")]
        floor = rows.loc[rows["kind"] == "floor", "value"]
        end = f"; floor {number(float(floor.iloc[0]))}" if len(floor) else ""
        texts.append(f"Where both are equal, {style.EXTRACTORS[str(panel)]} features: {'; '.join(parts)}{end}.")
    return texts


def _mean_text(rows: pd.DataFrame, mean: dict[Hashable, Any]) -> str:
    cells = rows.loc[rows["series"] == mean["series"], "cell_id"].dropna()
    return cite(f"{mean['series']} {panels.average_text(mean)}", cells)
