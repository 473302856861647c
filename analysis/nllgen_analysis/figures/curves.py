"""Curves over training: every seed faint, the mean with its t interval over it. Data first, drawing last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from nllgen_analysis.captions import cite
from nllgen_analysis.figures.style import LINESTYLES, LineStyle
from nllgen_analysis.frames import student_order
from nllgen_analysis.statistics import summarise
from nllgen_analysis.text import CONDITION, estimate, listing, number

COLUMNS = (
    "panel",
    "hue",
    "series",
    "kind",
    "seed",
    "cell_id",
    "outcome",
    "x",
    "value",
    "low",
    "high",
    "num_seeds",
)
MAX_LEGEND = 14


def measured(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Rows with a finite value in one of the columns, and those of diverged cells, where that is how they end.

    A diverged cell of a setting in which nobody has a value was not asked, and is left out.
    """
    finite = np.isfinite(rows[columns].astype(float)).any(axis=1)
    asked = rows["setting"].isin(rows.loc[finite, "setting"])
    return rows[finite | (asked & (rows["outcome"] == "diverged"))]


def by_degree(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with ``series``, the degree and what else tells arms apart, from the smallest model to the largest."""
    ranks = {name: rank for rank, name in enumerate(student_order(rows["student"]))}
    named = rows.assign(
        series=rows["student"].str.cat(rows["variant"], sep=" ").str.strip(), _rank=rows["student"].map(ranks)
    )
    return named.sort_values(["_rank", "series"], kind="stable").drop(columns="_rank")


def in_order(data: pd.DataFrame, series: pd.Series) -> pd.DataFrame:
    """Rows by the order in which their series appear in another column."""
    order = {name: rank for rank, name in enumerate(series.unique())}
    ordered = data.sort_values("series", key=lambda column: column.map(order), kind="stable")
    return ordered.reset_index(drop=True)


def curve_data(rows: pd.DataFrame, value: str, *, panel: str, hue: str, x: str = "step") -> pd.DataFrame:
    """The numbers of one panel of curves.

    The mean exists where more than half of a series' seeds are finite, so that it neither jumps at a step that only a
    diverging seed was evaluated at, nor goes on as the mean of a few survivors.

    Args:
        rows: one row a cell and step, with ``series`` and the columns of ``frames.KEYS``.
        value: the drawn column.
        panel: name of the panel.
        hue: column that chooses the colour.
        x: column along the horizontal axis.

    Returns:
        Columns ``COLUMNS``; ``kind`` is ``seed`` or ``mean``.
    """
    rows = rows[np.isfinite(rows[x].astype(float))].assign(value=rows[value].astype(float), x=rows[x])
    finite = np.isfinite(rows["value"]).groupby(rows["id"]).transform("any")
    rows = rows[finite | (rows["outcome"] == "diverged")]
    rows = rows.assign(hue=rows[hue], cell_id=rows["id"]).sort_values(["x"], kind="stable")
    means = summarise(rows, ["hue", "series", "x"], "value").rename(columns={"mean": "value"})
    started = means["series"].map(rows.groupby("series")["id"].nunique())
    means = means[means["num_seeds"] > started / 2]
    seeds = rows.assign(kind="seed")
    both = pd.concat([seeds, means.assign(kind="mean")], ignore_index=True).assign(panel=panel)
    return both.reindex(columns=COLUMNS)


def series_styles(data: pd.DataFrame) -> dict[str, LineStyle]:
    """Line style by series: the first of a colour is solid."""
    styles: dict[str, LineStyle] = {}
    for _, series in data.drop_duplicates("series").groupby("hue", sort=False)["series"]:
        styles |= {name: LINESTYLES[rank % len(LINESTYLES)] for rank, name in enumerate(series)}
    return styles


def draw_curves(ax: Axes, data: pd.DataFrame, colour: Callable[[str], str], styles: dict[str, LineStyle]) -> None:
    """Draw one panel's numbers; a cross ends the curve of a seed that diverged.

    Where a diverged seed has no curve, as one that left the truth before it was measured again, the cross stands at the
    upper edge, at its last step.
    """
    for (hue, series), rows in data.groupby(["hue", "series"], sort=False):
        _draw_seeds(ax, rows[rows["kind"] == "seed"], colour(hue), styles[series])
        mean = rows[(rows["kind"] == "mean") & np.isfinite(rows["value"])]
        if len(mean) == 1:
            ax.plot(mean["x"], mean["value"], "_", color=colour(hue), markersize=10, markeredgewidth=1.6, zorder=3)
        ax.plot(mean["x"], mean["value"], linestyle=styles[series], color=colour(hue), zorder=3)
        band = mean[np.isfinite(mean["low"])]
        ax.fill_between(band["x"], band["low"], band["high"], color=colour(hue), alpha=0.18, linewidth=0, zorder=2)


def _draw_seeds(ax: Axes, seeds: pd.DataFrame, colour: str, linestyle: LineStyle) -> None:
    finite = seeds[np.isfinite(seeds["value"])]
    lines = [rows[["x", "value"]].to_numpy(float) for _, rows in finite.groupby("cell_id", sort=False)]
    ax.add_collection(LineCollection(lines, colors=colour, alpha=0.3, linewidths=0.6, linestyles=linestyle, zorder=1))
    diverged = seeds[seeds["outcome"] == "diverged"]
    curves = finite["cell_id"].value_counts()
    short = ~diverged["cell_id"].isin(curves.index[curves > 1])
    ends = diverged[~short & np.isfinite(diverged["value"])].groupby("cell_id", sort=False).tail(1)
    cross: dict[str, Any] = {"color": colour, "markersize": 5, "markeredgewidth": 1.2, "zorder": 4}
    ax.plot(ends["x"], ends["value"], "x", **cross)
    last = diverged[short].groupby("cell_id", sort=False).tail(1)
    if len(last):  # an empty line that is not clipped would count as lying in the figure's corner
        ax.plot(last["x"], np.ones(len(last)), "x", transform=ax.get_xaxis_transform(), clip_on=False, **cross)
    ax.autoscale_view()


def legend_handles(data: pd.DataFrame, colour: Callable[[str], str], styles: dict[str, LineStyle]) -> list[Line2D]:
    """One line a series, or one a colour where that would be more than a legend can hold."""
    drawn = data.drop_duplicates("series")[["hue", "series"]]
    if len(drawn) > MAX_LEGEND:
        handles = [Line2D([], [], color=colour(hue), label=str(hue)) for hue in drawn["hue"].unique()]
    else:
        handles = [
            Line2D([], [], color=colour(hue), linestyle=styles[series], label=series)
            for hue, series in drawn.itertuples(index=False, name=None)
        ]
    if (data["outcome"] == "diverged").any():
        handles.append(Line2D([], [], color="#444444", marker="x", linestyle="", markersize=5, label="diverged here"))
    return handles


def ends_text(data: pd.DataFrame) -> str:
    """Each series' mean at its last step, with interval, number of seeds and the cells behind it, for a caption.

    A mean that ends before the panel does, as more than half of its seeds diverged, says where.
    """
    seeds = data[(data["kind"] == "seed") & np.isfinite(data["value"].astype(float))]
    ends = data[data["kind"] == "mean"].groupby("series", sort=False).tail(1).sort_index()
    texts = []
    for row in ends.itertuples(index=False):
        behind = seeds[(seeds["series"] == row.series) & (seeds["x"] == row.x)]
        early = f", at {number(row.x)} of {number(seeds['x'].max())}" if _lost_most(data, row.series, row.x) else ""
        texts.append(
            cite(f"{row.series} {estimate(row.value, row.high, int(row.num_seeds))}{early}", behind["cell_id"])
        )
    return listing(texts)


def _lost_most(data: pd.DataFrame, series: str, x: float) -> bool:
    """Whether a series' mean ends where most of its seeds diverged."""
    seeds = data[(data["kind"] == "seed") & (data["series"] == series)]
    return bool((seeds["x"] > x).any() and (seeds["outcome"] == "diverged").any())


def diverged_text(data: pd.DataFrame) -> str:
    """How many of the drawn cells diverged, for a caption."""
    cells = data[data["kind"] == "seed"].drop_duplicates("cell_id")
    diverged = cells[cells["outcome"] == "diverged"]
    if diverged.empty:
        return ""
    told = cite(f"{len(diverged)} of the {len(cells)} cells drawn diverged", diverged["cell_id"])
    return f"{told} (×; at the upper edge where fewer than two evaluations have a value)."


def describe_means() -> str:
    """What the lines are, for a caption."""
    return (
        "Faint: every seed; bold: mean over seeds with its 95 % t interval, while more than half of them are finite; "
        f"intervals are {CONDITION}."
    )
