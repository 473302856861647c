"""Two groups of cells side by side: a panel per metric, a line per group of cells that belong together."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nllgen_analysis.compare import Comparison
from nllgen_analysis.figures.panels import bar_lengths
from nllgen_analysis.figures.scales import set_scale
from nllgen_analysis.figures.style import WIDTH_IN, legend_below, literal, marker_key, project_style
from nllgen_analysis.tables import MAIN_METRICS

COLOURS = {"A": "#0072B2", "B": "#D55E00"}
MARKERS = {"A": "o", "B": "s"}
MAX_GROUPS = 24  # of a panel; the table has all
_OFFSETS = {"A": -0.14, "B": 0.14}
_GROUP_IN, _PANEL_IN = 0.34, 0.62  # heights: of a group, and of what a panel has besides
_LABEL_CHARACTERS = 30
_NAME_CHARACTERS = 70


def draw_comparison(comparison: Comparison, names: tuple[str, str]) -> Figure:
    """Draw the values of every seed, pairs joined by a line, and the means with their intervals."""
    metrics = list(comparison.table["metric"].unique())
    groups = {
        metric: list(comparison.table.loc[comparison.table["metric"] == metric, "group"])[:MAX_GROUPS]
        for metric in metrics
    }
    heights = [_PANEL_IN + _GROUP_IN * len(groups[metric]) for metric in metrics]
    with project_style():
        figure = Figure(figsize=(WIDTH_IN, sum(heights) + 0.4), layout="constrained")
        axes = figure.subplots(len(metrics), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, metric in zip(axes, metrics, strict=True):
            _draw_metric(ax, comparison, metric, groups[metric])
        keys = [
            marker_key(f"{side}: {textwrap.shorten(name, _NAME_CHARACTERS)}", COLOURS[side], MARKERS[side])
            for side, name in zip("AB", names, strict=True)
        ]
        legend_below(figure, keys)
    return figure


def _draw_metric(ax: Axes, comparison: Comparison, metric: str, groups: list[str]) -> None:
    table = comparison.table[comparison.table["metric"] == metric].set_index("group").loc[groups]
    seeds = comparison.seeds[(comparison.seeds["metric"] == metric) & comparison.seeds["group"].isin(groups)]
    seeds = seeds[np.isfinite(seeds["value"])]
    places = {group: place for place, group in enumerate(groups)}
    _draw_seeds(ax, seeds, places)
    for side in "AB":
        mean, low, high = (table[f"{name}_{side.lower()}"].astype(float) for name in ("mean", "low", "high"))
        at = np.arange(len(groups)) + _OFFSETS[side]
        ax.errorbar(mean, at, xerr=bar_lengths(low, mean, high), fmt=MARKERS[side], color=COLOURS[side], markersize=4,
                    elinewidth=1.2, zorder=3)  # fmt: skip
    unit = table["unit"].iloc[0]
    ax.set_xlabel(MAIN_METRICS.get(metric) or (f"{metric} (unitless)" if unit == "1" else f"{metric} ({unit})"))
    num_hidden = int((comparison.table["metric"] == metric).sum()) - len(groups)
    if num_hidden:
        ax.set_title(f"{num_hidden} further groups are in the table alone")
    ax.set_yticks(range(len(groups)), [literal(textwrap.fill(group, _LABEL_CHARACTERS)) for group in groups])
    ax.set_ylim(len(groups) - 0.5, -0.5)
    set_scale(ax, "x", seeds["value"])


def _draw_seeds(ax: Axes, seeds: pd.DataFrame, places: dict[str, int]) -> None:
    for (group, _), rows in seeds.groupby(["group", "seed"]):
        if sorted(rows["side"]) == ["A", "B"]:  # a pair
            ax.plot(rows["value"], [places[str(group)] + _OFFSETS[side] for side in rows["side"]], color="#B0B0B0",
                    linewidth=0.5, zorder=1)  # fmt: skip
    for side, rows in seeds.groupby("side"):
        at = rows["group"].map(places).astype(float) + _OFFSETS[str(side)]
        ax.plot(rows["value"], at, ".", color=COLOURS[str(side)], markersize=3, alpha=0.5, zorder=2)
