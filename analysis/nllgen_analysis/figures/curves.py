"""Curves over training: every seed faint, the mean with its t interval in front."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from nllgen_analysis.cells_frame import STARTED_AT_TRUTH
from nllgen_analysis.figures import panels, style
from nllgen_analysis.figures.scales import Scale
from nllgen_analysis.figures.style import DARK_GREY, LINESTYLES, LineStyle, line_key, marker_key
from nllgen_analysis.frames import Frames, ranked
from nllgen_analysis.text import CONDITION, GEOMETRIC, cite, listing, number

COLUMNS = (
    "panel", "hue", "series", "arm", "kind", "seed", "cell_id", "outcome", "is_dead", "x", "value", "low", "high",
    "num_seeds", "scale",
)  # fmt: skip
MAX_LEGEND = 14
KEY_CHARACTERS = 52  # in a line of a legend's key
DESCRIPTION = (
    "Faint: every seed; bold: mean over seeds with its 95 % t interval, while more than half of them are finite; "
    f"intervals are {CONDITION}."
)
Colour = Callable[[str], str]
Looks = tuple[dict[str, str], dict[str, LineStyle]]  # colours and line styles by series


def measured(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return the rows with a finite value in one of the columns, and those of diverged cells.

    Diverged cells are left out of a setting in which no cell has a value: there the metric was not measured.
    """
    finite = np.isfinite(rows[columns].astype(float)).any(axis=1)
    is_measured = rows["setting"].isin(rows.loc[finite, "setting"])
    return rows[finite | (is_measured & (rows["outcome"] == "diverged"))]


def raw_from_random(frames: Frames) -> pd.DataFrame:
    """Return the evaluations of raw weights, without students that start *from truth*."""
    return frames.eval[(frames.eval["weights"] == "raw") & ~frames.eval["student"].str.endswith(STARTED_AT_TRUTH)]


def planned_cells(frames: Frames, setting: str) -> pd.DataFrame:
    """Return the cells of a setting, without students that start *from truth*."""
    return frames.cells[(frames.cells["setting"] == setting) & ~frames.cells["student"].str.endswith(STARTED_AT_TRUTH)]


def by_degree(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows from the smallest model to the largest and add ``series``: the degree and what varies beside it."""
    series = rows["student"].str.cat(rows["variant"], sep=" ").str.strip()
    return ranked(rows.assign(series=series)).sort_values(["_student", "series"], kind="stable")


def in_order(data: pd.DataFrame, series: pd.Series) -> pd.DataFrame:
    """Sort rows by the order in which their series appear in another column."""
    order = {name: rank for rank, name in enumerate(series.unique())}
    ordered = data.sort_values("series", key=lambda column: column.map(order), kind="stable")
    return ordered.reset_index(drop=True)


def split_by_degree(rows: pd.DataFrame, *, has_truth: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of paradigms with several degrees in their setting, and those of the others.

    The others are drawn by paradigm: a panel of one degree compares no degrees. The truth's own training is a degree
    only if the figure ``has_truth``.
    """
    degrees = rows.assign(_degree=rows["student"].where(has_truth | (rows["role"] != "truth")))
    is_several = degrees.groupby(["setting", "paradigm"])["_degree"].transform("nunique") > 1
    return rows[is_several], rows[~is_several]


def by_paradigm(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by paradigm and degree and add ``series``: the degree and what varies, after several paradigms'."""
    rows = by_degree(rows)
    heads = rows["paradigm"] + " " if rows["paradigm"].nunique() > 1 else ""
    rows = rows.assign(series=heads + rows["series"])
    rows = rows.assign(_is_truth=rows["role"] == "truth")  # last, so that the others have the paradigm's own colour
    return rows.sort_values(["paradigm", "_is_truth", "_student", "series"], kind="stable")


def description(data: pd.DataFrame) -> str:
    """Return what is drawn of every series, for a caption."""
    return f"{DESCRIPTION} {GEOMETRIC}" if (data["scale"] == "log").any() else DESCRIPTION


def curve_data(
    rows: pd.DataFrame, value: str, *, panel: str, hue: str, x: str = "step", scale: Scale = "linear"
) -> pd.DataFrame:
    """Return the numbers of one panel of curves.

    The mean exists where more than half of a series' seeds are finite. So it does not jump at a step at which only a
    diverging seed was evaluated, and does not continue as the mean of a few survivors.

    Args:
        rows: one row per cell and step, with ``series`` and the columns of ``frames.KEYS``.
        value: the drawn column.
        panel: name of the panel.
        hue: column that chooses the colour.
        x: column along the horizontal axis.
        scale: of the vertical axis; on a logarithmic one means are geometric.
    """
    rows = rows[np.isfinite(rows[x].astype(float))].assign(value=rows[value].astype(float), x=rows[x])
    finite = np.isfinite(rows["value"]).groupby(rows["id"]).transform("any")
    rows = rows[finite | (rows["outcome"] == "diverged")]
    rows = rows.assign(hue=rows[hue], cell_id=rows["id"], arm=rows["arm"] if "arm" in rows else rows["series"])
    rows = rows.sort_values(["x"], kind="stable")
    rows = rows.assign(is_dead=_is_dead(rows))
    means = panels.averages(rows, ["hue", "series", "arm", "x"], "value", scale).rename(columns={"mean": "value"})
    num_started = means["series"].map(rows.groupby("series")["id"].nunique()).astype(float)  # text where no row is left
    means = means[means["num_seeds"] > num_started / 2]
    both = pd.concat([rows.assign(kind="seed"), means.assign(kind="mean")], ignore_index=True)
    return both.assign(panel=panel, scale=scale).reindex(columns=list(COLUMNS))


def _is_dead(rows: pd.DataFrame) -> pd.Series:
    """Return whether the generator's gradient is dead from a row's step to the end of its cell."""
    if "dead_step" not in rows or rows.empty:
        return pd.Series(False, index=rows.index)
    since = rows["dead_step"].astype(float)
    last = rows.assign(_since=since).sort_values("step", kind="stable").drop_duplicates("id", keep="last")
    return rows["step"] >= rows["id"].map(last.set_index("id")["_since"])


def looks(data: pd.DataFrame, colour: Colour) -> Looks:
    """Return a colour and a line style per series; each arm has a colour of its own."""
    arms = data.drop_duplicates("series")
    of_arm = style.arm_colours({row.arm: colour(row.hue) for row in arms.itertuples(index=False)})
    return {row.series: of_arm[row.arm] for row in arms.itertuples(index=False)}, series_styles(data)


def series_styles(data: pd.DataFrame) -> dict[str, LineStyle]:
    """Return a line style per series; the first series of a colour is solid."""
    styles: dict[str, LineStyle] = {}
    for _, series in data.drop_duplicates("series").groupby("hue", sort=False)["series"]:
        styles |= {name: LINESTYLES[rank % len(LINESTYLES)] for rank, name in enumerate(series)}
    return styles


def draw_curves(ax: Axes, data: pd.DataFrame, looked: Looks) -> None:
    """Draw the curves of one panel; a cross marks the end of a seed that diverged, a triangle where a game died.

    A diverged seed with fewer than two finite values has no curve: its cross is at the upper edge, at its last step.
    """
    colours, styles = looked
    for series, rows in data.groupby("series", sort=False):
        colour = colours[series]
        _draw_seeds(ax, rows[rows["kind"] == "seed"], colour, styles[series])
        mean = rows[(rows["kind"] == "mean") & np.isfinite(rows["value"])]
        if len(mean) == 1:
            ax.plot(mean["x"], mean["value"], "_", color=colour, markersize=10, markeredgewidth=1.6, zorder=3)
        # the label names the series for the page
        ax.plot(mean["x"], mean["value"], linestyle=styles[series], color=colour, zorder=3, label=series)
        # an interval of plain means would fill a symlog axis, as it would a logarithmic one
        band = mean[np.isfinite(mean["low"]) & (mean["scale"] != "symlog")]
        ax.fill_between(band["x"], band["low"], band["high"], color=colour, alpha=0.18, linewidth=0, zorder=2)


def _draw_seeds(ax: Axes, seeds: pd.DataFrame, colour: str, linestyle: LineStyle) -> None:
    finite = seeds[np.isfinite(seeds["value"])]
    lines = [rows[["x", "value"]].to_numpy(float) for _, rows in finite.groupby("cell_id", sort=False)]
    ax.add_collection(LineCollection(lines, colors=colour, alpha=0.3, linewidths=0.6, linestyles=linestyle, zorder=1))
    diverged = seeds[seeds["outcome"] == "diverged"]
    num_values = finite["cell_id"].value_counts()
    has_curve = diverged["cell_id"].isin(num_values.index[num_values > 1])
    ends = diverged[has_curve & np.isfinite(diverged["value"])].groupby("cell_id", sort=False).tail(1)
    cross: dict[str, Any] = {"color": colour, "markersize": 5, "markeredgewidth": 1.2, "zorder": 4}
    ax.plot(ends["x"], ends["value"], "x", **cross)
    last = diverged[~has_curve].groupby("cell_id", sort=False).tail(1)
    if len(last):  # an empty line that is not clipped would count as lying in the figure's corner
        ax.plot(last["x"], np.ones(len(last)), "x", transform=ax.get_xaxis_transform(), clip_on=False, **cross)
    dead = finite[finite["is_dead"].astype(bool)].drop_duplicates("cell_id")
    ax.plot(dead["x"], dead["value"], "v", color=colour, markersize=5, markerfacecolor="white", zorder=4)
    ax.autoscale_view()


def legend_handles(data: pd.DataFrame, looked: Looks) -> list[Line2D]:
    """Return one key per series; if there are more than ``MAX_LEGEND``, one per arm, and one for the dashes of EMAs.

    An arm is never left out: nothing else says which colour it has.
    """
    colours, styles = looked
    drawn = data.drop_duplicates("series")
    listed = drawn if len(drawn) <= MAX_LEGEND else drawn.drop_duplicates("arm")
    handles = [line_key(textwrap.fill(name, KEY_CHARACTERS), colours[name], styles[name]) for name in listed["series"]]
    if len(listed) < len(drawn):
        handles.append(line_key("EMA", DARK_GREY, "--"))
    if data["is_dead"].eq(True).any():
        handles.append(marker_key("dead from here", DARK_GREY, "v", size=5, face="white"))
    if (data["outcome"] == "diverged").any():
        handles.append(marker_key("diverged here", DARK_GREY, "x", size=5))
    return handles


def ends_text(data: pd.DataFrame) -> str:
    """Return the mean of each series at its last step with interval, number of seeds and cells, for a caption.

    The step is named if the mean ends before the panel does because half of its seeds diverged.
    """
    seeds = data[(data["kind"] == "seed") & np.isfinite(data["value"].astype(float))]
    ends = data[data["kind"] == "mean"].groupby("series", sort=False).tail(1).sort_index()
    texts = []
    for row in ends.itertuples(index=False):
        cells = seeds.loc[(seeds["series"] == row.series) & (seeds["x"] == row.x), "cell_id"]
        average = panels.average_text(row._asdict())
        step = f", at {number(row.x)} of {number(seeds['x'].max())}" if _ends_early(data, row.series, row.x) else ""
        texts.append(cite(f"{row.series} {average}{step}", cells))
    return listing(texts)


def _ends_early(data: pd.DataFrame, series: str, x: float) -> bool:
    seeds = data[(data["kind"] == "seed") & (data["series"] == series)]
    return bool((seeds["x"] > x).any() and (seeds["outcome"] == "diverged").any())


def diverged_text(data: pd.DataFrame) -> str:
    """Return how many of the drawn cells diverged and how many games are dead, for a caption."""
    cells = data[data["kind"] == "seed"].drop_duplicates("cell_id")
    diverged = cells[cells["outcome"] == "diverged"]
    dead = data.loc[(data["kind"] == "seed") & data["is_dead"].eq(True), "cell_id"].unique()
    texts = []
    if len(diverged):
        count = cite(f"{len(diverged)} of the {len(cells)} cells drawn diverged", diverged["cell_id"])
        texts.append(f"{count} (×; at the upper edge where fewer than two evaluations have a value).")
    if len(dead):
        count = cite(f"{len(dead)} of the {len(cells)} cells drawn", dead)
        texts.append(f"In {count} the game is dead from ▽ on: its generator has no gradient any more.")
    return " ".join(texts)
