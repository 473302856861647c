"""Exact KL, reverse KL and Jensen–Shannon divergence of every kind of cell, adversarial ones among them."""

from __future__ import annotations

import math
import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from nllgen_analysis.captions import cite
from nllgen_analysis.figures.missing import with_absent
from nllgen_analysis.figures.style import (
    GREY,
    Drawn,
    FigureResult,
    NotDrawn,
    legend_below,
    new_figure,
    paradigm_colour,
    set_scale,
)
from nllgen_analysis.frames import Frames, ranked
from nllgen_analysis.statistics import summarise
from nllgen_analysis.text import CONDITION, estimate, listing

NAME, TITLE = "divergences", "Exact divergences from the truth"
PANELS = {
    "kl_nats": "KL(p‖q) (nats)",
    "reverse_kl_nats": "KL(q‖p) (nats)",
    "jsd_nats": "JSD(p, q) (nats)",
}
GROUP = ["panel", "group", "student", "paradigm", "setting"]
COLUMNS = (*GROUP, "row", "kind", "seed", "cell_id", "outcome", "value", "low", "high", "num_seeds")
MIN_ROWS = 5  # of room: the axis has a label
MAX_ROWS = 24  # groups of cells on a page; the rest are in the CSV
ROW_IN = 0.21  # has two lines of a label
LABEL_CHARACTERS = 36  # a line of what tells arms apart


def draw_divergences(frames: Frames) -> list[FigureResult]:
    """One figure: a row a group of cells on synthetic data, a panel a divergence."""
    data = divergence_data(frames)
    if data.empty:
        return [NotDrawn(NAME, TITLE, f"no cell on synthetic data has an exact divergence ({frames.counts_text})")]
    panels = [name for name in PANELS if (data["panel"] == name).any()]
    names = dict(data[["row", "group"]].drop_duplicates().itertuples(index=False, name=None))
    shown = data[data["row"] < MAX_ROWS]
    rows = [row for row in names if row < MAX_ROWS]
    labels = [_short(names[row]) for row in rows]
    row_in = ROW_IN * max(1, max(label.count("\n") + 1 for label in labels) / 2)
    figure = new_figure(1, max(2, len(panels)), row_height=0.6 + row_in * max(len(labels), MIN_ROWS), extra=0.4)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, panel in zip(axes, panels, strict=True):
        _draw_panel(ax, shown[shown["panel"] == panel], panel)
    axes[0].set_yticks(rows, labels, fontsize=6)
    axes[0].set_ylabel("group of cells")
    axes[0].set_ylim(max(rows) + 0.6, min(rows) - 0.6)
    paradigms = list(shown["paradigm"].unique())
    legend_below(figure, [
        Line2D([], [], color=paradigm_colour(name), marker="o", linestyle="", markersize=4, label=name)
        for name in paradigms
    ])  # fmt: skip
    caption = _caption(data, [names[row] for row in names if row >= MAX_ROWS])
    cells = frames.cells[(frames.cells["source"] == "synthetic") & (frames.cells["role"] != "truth")]
    data, absent = with_absent(data, cells)
    return [Drawn(NAME, TITLE, figure, data, f"{caption} {absent}".strip())]


def divergence_data(frames: Frames) -> pd.DataFrame:
    """The plotted numbers, ``COLUMNS``: kind ``seed`` or ``mean`` with its interval, a ``row`` a group from above."""
    final = frames.final
    rows = final[(final["weights"] == "last") & (final["role"] != "truth") & (final["source"] == "synthetic")]
    known = {name: rows[np.isfinite(rows[name].astype(float))] for name in PANELS}
    parts = [own.assign(panel=name, value=own[name].astype(float), kind="seed") for name, own in known.items()]
    seeds = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    if seeds.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    means = summarise(seeds, GROUP, "value").rename(columns={"mean": "value"}).assign(kind="mean")
    both = pd.concat([seeds.assign(cell_id=seeds["id"]), means], ignore_index=True)
    order = {name: row for row, name in enumerate(_order(seeds))}
    both = both.assign(row=both["group"].map(order)).sort_values(["row", "kind", "seed"], kind="stable")
    return both.reindex(columns=list(COLUMNS)).reset_index(drop=True)


def _order(seeds: pd.DataFrame) -> list[str]:
    """Groups by paradigm, setting and degree."""
    groups = ranked(seeds.drop_duplicates("group"))
    groups = groups.assign(_trained=groups["student"].str.endswith(" from truth"))
    return list(groups.sort_values(["_trained", "paradigm", "_setting", "_student", "group"], kind="stable")["group"])


def _short(group: str) -> str:
    """Of a group's name what fits beside an axis, in lines where it has to be: all data here are synthetic."""
    student, paradigm, setting, *variant = group.split(" · ")
    size = setting.removeprefix("synthetic, ").replace("fresh samples", "fresh")
    lines = [line for part in variant for line in textwrap.wrap(part, LABEL_CHARACTERS)]
    return "\n".join([f"{student}  {paradigm}  {size}", *lines])


def _draw_panel(ax: Axes, data: pd.DataFrame, panel: str) -> None:
    for paradigm, rows in data.groupby("paradigm", sort=False):
        colour = paradigm_colour(paradigm)
        seeds, means = rows[rows["kind"] == "seed"], rows[rows["kind"] == "mean"]
        ax.plot(seeds["value"], seeds["row"], ".", color=colour, alpha=0.35, markersize=3, zorder=2)
        half = (means["high"] - means["value"]).fillna(0)
        ax.errorbar(means["value"], means["row"], xerr=half, fmt="o", color=colour, markersize=4, elinewidth=1,
                    capsize=2, zorder=3)  # fmt: skip
    if panel == "jsd_nats":
        ax.axvline(math.log(2), color=GREY, linewidth=0.9, linestyle=(0, (5, 2)), zorder=0)
        ax.set_xlim(-0.03, math.log(2) + 0.03)
    else:
        set_scale(ax, "x", data["value"])
    ax.set_xlabel(PANELS[panel])


def _caption(data: pd.DataFrame, hidden: list[str]) -> str:
    texts = [
        "Divergences between the truth p and the model q, from exact log-densities on both sides: KL(p‖q) over test "
        "images, KL(q‖p) over the model's samples, the Jensen–Shannon divergence over both; last weights. Small "
        f"points: seeds; markers: means with 95 % t intervals over seeds, {CONDITION}. Dashed: ln 2, the largest "
        "Jensen–Shannon divergence, of densities that do not overlap.",
    ]
    for group, rows in data[data["paradigm"] != "nll"].groupby("group", sort=False):
        means = rows[rows["kind"] == "mean"].set_index("panel")
        told = [
            f"{PANELS[name].removesuffix(' (nats)')} {estimate(row['value'], row['high'], int(row['num_seeds']))}"
            for name, row in means.iterrows()
        ]
        texts.append(f"{cite(f'{group}, nats: {listing(told)}', rows['cell_id'].dropna())}.")
    if hidden:
        texts.append(f"Not shown for want of room, but in the CSV: {', '.join(hidden)}.")
    return " ".join(texts)
