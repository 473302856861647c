"""KL in two parts: what the model and its training cannot reach on endless data, and what finite data add."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from nllgen_analysis.captions import cite
from nllgen_analysis.figures.capacity import WEIGHTS, final_kl, of_capacity
from nllgen_analysis.figures.missing import with_absent
from nllgen_analysis.figures.style import (
    Drawn,
    FigureResult,
    NotDrawn,
    degree_colour,
    legend_below,
    new_figure,
    set_scale,
)
from nllgen_analysis.frames import Frames, student_order
from nllgen_analysis.statistics import paired, summarise
from nllgen_analysis.text import CONDITION, estimate

NAME, TITLE = "kl_split", "KL split into approximation and estimation"
PARTS = ("approximation", "estimation")
# what must agree between a cell on N images and the one on fresh images that it is held against
PAIR_ON = ["weights", "student", "image_size", "steps", "batch_size", "lr", "precision", "seed"]
COLUMNS = ("panel", "weights", "student", "num_train", "kind", "seed", "cell_id", "value", "low", "high", "num_seeds")


def draw_split(frames: Frames) -> list[FigureResult]:
    """Final KL(p‖q) of cells trained by NLL from a random start, in two parts: a panel a kind of weights."""
    data = split_data(frames)
    if data.empty:
        reason = (
            "no cell trained by nll from a random start on N images has a partner on fresh samples with the same flow, "
            f"training and seed ({frames.counts_text})"
        )
        return [NotDrawn(NAME, TITLE, reason)]
    panels = [name for name in WEIGHTS if (data["weights"] == name).any()]
    figure = new_figure(1, max(2, len(panels)), row_height=2.3, extra=0.4)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    places = list(dict.fromkeys(zip(data["student"], data["num_train"], strict=True)))
    for ax, weights in zip(axes, panels, strict=True):
        _draw_panel(ax, data[data["weights"] == weights], places)
        ax.set_title(f"{weights} weights")
    axes[0].set_ylabel("KL(p‖q) (nats)")
    means = data[data["kind"] == "mean"].groupby(["weights", "student", "num_train"])["value"]
    set_scale(axes[0], "y", pd.concat([means.first(), means.sum()]))
    legend_below(figure, [
        Line2D([], [], color="#444444", marker="o", linestyle="", markersize=5, markerfacecolor=face, label=label)
        for face, label in (("white", "fresh samples: approximation"), ("#444444", "N images"))
    ] + [Line2D([], [], color="#444444", alpha=0.3, linewidth=4, label="estimation")])  # fmt: skip
    caption = _caption(data)
    planned = of_capacity(frames.cells[frames.cells["source"] == "synthetic"])
    data, absent = with_absent(data, planned[planned["student"].isin(data["student"])])
    return [Drawn(NAME, TITLE, figure, data, f"{caption} {absent}".strip())]


def split_data(frames: Frames) -> pd.DataFrame:
    """The plotted numbers, ``COLUMNS``, in nats.

    Kind ``seed`` is a cell's own: of panel ``estimation`` its KL minus that of its partner on fresh samples, of
    ``approximation`` the partner's. Kind ``mean`` is over seeds, with its t interval.
    """
    rows = final_kl(frames).merge(frames.cells[["id", "steps", "batch_size", "lr", "precision"]], on="id")
    fresh, finite = rows[rows["num_train"] == "fresh"], rows[rows["num_train"] != "fresh"]
    both = paired(finite, fresh, "kl_nats", PAIR_ON, keep=("num_train",))
    if both.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    both = both.assign(num_train=both["num_train"].astype(int))
    seeds = pd.concat([
        both.assign(panel="approximation", value=both["second"], cell_id=both["id_second"]),
        both.assign(panel="estimation", value=both["difference"], cell_id=both["id_first"]),
    ]).assign(kind="seed")  # fmt: skip
    means = summarise(seeds, ["panel", "weights", "student", "num_train"], "value").rename(columns={"mean": "value"})
    ranks = {name: rank for rank, name in enumerate(student_order(seeds["student"]))}
    data = pd.concat([seeds, means.assign(kind="mean")], ignore_index=True)
    data = data.assign(_s=data["student"].map(ranks)).sort_values(
        ["weights", "_s", "num_train", "panel", "kind", "seed"], kind="stable"
    )
    return data.reindex(columns=list(COLUMNS)).reset_index(drop=True)


def _draw_panel(ax: Axes, data: pd.DataFrame, places: list[tuple[str, int]]) -> None:
    means = data[data["kind"] == "mean"].set_index(["student", "num_train", "panel"])
    for place, (student, size) in enumerate(places):
        if (student, size, PARTS[0]) not in means.index:
            continue
        first, second = (means.loc[(student, size, part)] for part in PARTS)
        colour, total = degree_colour(student), first["value"] + second["value"]
        ax.plot([place, place], [first["value"], total], color=colour, linewidth=4, alpha=0.3, zorder=1)
        ax.plot(place, first["value"], "o", color=colour, markerfacecolor="white", markersize=5, zorder=3)
        half = np.nan_to_num(second["high"] - second["value"])
        ax.errorbar(place, total, yerr=half, fmt="o", color=colour, markersize=5, capsize=3, elinewidth=1, zorder=3)
    ax.set_xticks(range(len(places)), [f"{student}\nN = {size:,}" for student, size in places])
    ax.margins(x=0.15)


def _caption(data: pd.DataFrame) -> str:
    texts = [
        "KL(p‖q) on test images of models trained by nll on N images, in two parts. Approximation: the KL of the same "
        "training on fresh samples at every step. It holds what the class of models cannot reach and what so many "
        "steps have not reached yet; of W and larger degrees, whose class holds the truth, it is the second alone. "
        f"Estimation: what N images add, paired by seed, with its 95 % t interval over seeds, {CONDITION}. Hollow: the "
        "first part; full: both, with the interval of the second."
    ]
    seeds = data[data["kind"] == "seed"]
    for row in data[(data["kind"] == "mean") & (data["panel"] == PARTS[0])].itertuples(index=False):
        own = (data["weights"] == row.weights) & (data["student"] == row.student) & (data["num_train"] == row.num_train)
        other = data[own & (data["kind"] == "mean") & (data["panel"] == PARTS[1])].iloc[0]
        told = (
            f"{PARTS[0]} {estimate(row.value, row.high, int(row.num_seeds))}, "
            f"{PARTS[1]} {estimate(other['value'], other['high'], int(other['num_seeds']))}"
        )
        texts.append(
            f"{row.student}, N = {row.num_train:,}, {row.weights} weights, nats: "
            f"{cite(told, seeds.loc[own.reindex(seeds.index), 'cell_id'])}."
        )
    return " ".join(texts)
