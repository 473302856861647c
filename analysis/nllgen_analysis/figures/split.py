"""KL in two parts: what the model and its training cannot reach on endless data, and what finite data add."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from nllgen_analysis.captions import cite
from nllgen_analysis.figures.absent import with_absent
from nllgen_analysis.figures.capacity import WEIGHTS, final_kl, of_capacity
from nllgen_analysis.figures.style import Drawn, FigureResult, NotDrawn, degree_colour, legend_below, new_figure
from nllgen_analysis.frames import Frames, student_order
from nllgen_analysis.statistics import mean_interval, paired
from nllgen_analysis.text import CONDITION, estimate

NAME, TITLE = "kl_split", "KL split into approximation and estimation"
PARTS = ("approximation", "estimation")
# what must agree between a cell on N images and the one on fresh images that it is held against
PAIR_ON = ["weights", "student", "image_size", "steps", "batch_size", "lr", "precision", "seed"]
COLUMNS = ("panel", "weights", "student", "num_train", "kind", "seed", "cell_id", "value", "low", "high", "num_seeds")
_BY = ["weights", "student", "num_train"]


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
    bars = list(dict.fromkeys(zip(data["student"], data["num_train"], strict=True)))
    for ax, weights in zip(axes, panels, strict=True):
        _draw_panel(ax, data[data["weights"] == weights], bars)
        ax.set_title(f"{weights} weights")
    axes[0].set_ylabel("KL(p‖q) (nats)")
    legend_below(figure, [
        Line2D([], [], color="#444444", alpha=alpha, linewidth=5, label=part)
        for part, alpha in zip(PARTS, (0.45, 1.0), strict=True)
    ])  # fmt: skip
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
    pairs = [
        paired(own, fresh, "kl_nats", PAIR_ON).assign(num_train=int(size)) for size, own in finite.groupby("num_train")
    ]
    if not any(len(part) for part in pairs):
        return pd.DataFrame(columns=list(COLUMNS))
    both = pd.concat(pairs, ignore_index=True)
    seeds = pd.concat([
        both.assign(panel="approximation", value=both["second"], cell_id=both["id_second"]),
        both.assign(panel="estimation", value=both["difference"], cell_id=both["id_first"]),
    ]).assign(kind="seed")  # fmt: skip
    means = []
    for (panel, *keys), part in seeds.groupby(["panel", *_BY], sort=False):
        found = mean_interval(part["value"])
        means.append({"panel": panel, **dict(zip(_BY, keys, strict=True)), "kind": "mean", "value": found.mean,
                      "low": found.low, "high": found.high, "num_seeds": found.num_seeds})  # fmt: skip
    ranks = {name: rank for rank, name in enumerate(student_order(seeds["student"]))}
    data = pd.concat([seeds, pd.DataFrame(means)], ignore_index=True)
    data = data.assign(_s=data["student"].map(ranks)).sort_values(
        ["weights", "_s", "num_train", "panel", "kind", "seed"], kind="stable"
    )
    return data.reindex(columns=list(COLUMNS)).reset_index(drop=True)


def _draw_panel(ax: Axes, data: pd.DataFrame, bars: list[tuple[str, int]]) -> None:
    means = data[data["kind"] == "mean"].set_index(["student", "num_train", "panel"])
    for place, (student, size) in enumerate(bars):
        if (student, size, PARTS[0]) not in means.index:
            continue
        first, second = (means.loc[(student, size, part)] for part in PARTS)
        colour = degree_colour(student)
        ax.bar(place, first["value"], color=colour, alpha=0.45, width=0.6)
        ax.bar(place, second["value"], bottom=first["value"], color=colour, width=0.6)
        total = first["value"] + second["value"]
        if np.isfinite(second["low"]):
            half = second["high"] - second["value"]
            ax.errorbar(place, total, yerr=half, color="#D55E00" if student == "W" else "#444444", capsize=3,
                        elinewidth=1, zorder=3)  # fmt: skip
    ax.set_xticks(range(len(bars)), [f"{student}\nN = {size:,}" for student, size in bars])
    ax.margins(x=0.15)


def _caption(data: pd.DataFrame) -> str:
    texts = [
        "KL(p‖q) on test images of models trained by nll on N images, in two parts. Approximation: the KL of the same "
        "training on fresh samples at every step. It holds what the class of models cannot reach and what so many "
        "steps have not reached yet; of W and larger degrees, whose class holds the truth, it is the second alone. "
        f"Estimation: what N images add, paired by seed, with its 95 % t interval over seeds, {CONDITION}."
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
