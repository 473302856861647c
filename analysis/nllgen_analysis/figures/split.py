"""KL in two parts: the KL of the same training on fresh samples, and the part that finite data add."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from nllgen_analysis.figures import panels, scales, style
from nllgen_analysis.figures.capacity import WEIGHTS, Y_LABEL, final_kl, planned_cells
from nllgen_analysis.figures.style import DARK_GREY, FigureResult, NotDrawn, degree_colour
from nllgen_analysis.frames import Frames, student_order
from nllgen_analysis.statistics import paired
from nllgen_analysis.text import CONDITION, GEOMETRIC, cite

NAME, TITLE = "kl_split", "KL split into approximation and estimation"
GRID = panels.Grid(columns=2, extra=0.4, share_y=True, y_label=Y_LABEL, is_wide=True)
PARTS = ("approximation", "estimation")
SHOWN = {"approximation": "white", "total": ""}  # panel of the frame → the face of its markers, by default its colour
# columns in which a cell on N images and its partner on fresh samples agree
PAIR_ON = ["weights", "student", "image_size", "steps", "batch_size", "lr", "precision", "seed"]
COLUMNS = ("panel", "weights", "student", "num_train", "kind", "seed", "cell_id", "value", "low", "high", "num_seeds",
           "scale")  # fmt: skip


def draw_split(frames: Frames) -> list[FigureResult]:
    """Draw the final KL(p‖q) of cells trained by NLL from a random start in two parts: a panel per kind of weights."""
    data = split_data(frames)
    if data.empty:
        reason = (
            "no cell trained by nll from a random start on N images has a partner on fresh samples with the same flow, "
            f"training and seed ({frames.counts_text})"
        )
        return [NotDrawn(NAME, TITLE, reason)]
    figure, axes = GRID.draw([name for name in WEIGHTS if (data["weights"] == name).any()])
    places = list(dict.fromkeys(zip(data["student"], data["num_train"], strict=True)))
    for weights, ax in axes.items():
        _draw_panel(ax, data[data["weights"] == weights], places)
        ax.set_title(f"{weights} weights")
    shown = data[(data["kind"] == "seed") & data["panel"].isin(SHOWN)]
    scales.use_scale(figure.axes[0], "y", shown["scale"].iloc[0], shown["value"])
    style.legend_below(figure, [
        style.marker_key("fresh samples: approximation", DARK_GREY, size=5, face="white"),
        style.marker_key("N images: approximation and estimation", DARK_GREY, size=5),
    ])  # fmt: skip
    planned = planned_cells(frames)
    planned = planned[planned["student"].isin(data["student"])]
    return [panels.finish(NAME, TITLE, figure, data, _caption(data), planned)]


def split_data(frames: Frames) -> pd.DataFrame:
    """Return the plotted numbers, ``COLUMNS``, in nats.

    Kind ``seed`` is a cell's own value: in panel ``total`` its KL, in ``approximation`` that of its partner on fresh
    samples, in ``estimation`` their difference. Kind ``mean`` is over seeds with its interval, geometric on a
    logarithmic axis; a difference has an arithmetic one.
    """
    rows = final_kl(frames).merge(frames.cells[["id", "steps", "batch_size", "lr", "precision"]], on="id")
    fresh, finite = rows[rows["num_train"] == "fresh"], rows[rows["num_train"] != "fresh"]
    both = paired(finite, fresh, "kl_nats", PAIR_ON, keep=("num_train",))
    if both.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    both = both.assign(num_train=both["num_train"].astype(int))
    seeds = pd.concat([
        both.assign(panel="approximation", value=both["second"], cell_id=both["id_second"]),
        both.assign(panel="total", value=both["first"], cell_id=both["id_first"]),
    ])  # fmt: skip
    added = both.assign(panel="estimation", value=both["difference"], cell_id=both["id_first"])
    scale, by = scales.scale_of(seeds["value"], is_ratio=True), ["panel", "weights", "student", "num_train"]
    ranks = {name: rank for rank, name in enumerate(student_order(seeds["student"]))}
    data = pd.concat([panels.with_means(seeds, by, scale), panels.with_means(added, by)], ignore_index=True)
    data = data.assign(_student=data["student"].map(ranks)).sort_values(
        ["weights", "_student", "num_train", "panel", "kind", "seed"], kind="stable"
    )
    return data.reindex(columns=list(COLUMNS)).reset_index(drop=True)


def _draw_panel(ax: Axes, data: pd.DataFrame, places: list[tuple[str, int]]) -> None:
    means = data[data["kind"] == "mean"].set_index(["student", "num_train", "panel"])
    seeds = data[data["kind"] == "seed"]
    for place, (student, size) in enumerate(places):
        if (student, size, "total") not in means.index:
            continue
        colour = degree_colour(student)
        for part, face in SHOWN.items():
            mean = means.loc[(student, size, part)]
            bars = panels.bar_lengths(*(pd.Series([mean[name]]) for name in ("low", "value", "high")))
            ax.errorbar(place, mean["value"], yerr=bars, fmt="o", color=colour, markerfacecolor=face or colour,
                        markersize=5, capsize=3, elinewidth=1, zorder=3)  # fmt: skip
            own = (seeds["student"] == student) & (seeds["num_train"] == size) & (seeds["panel"] == part)
            values = seeds.loc[own, "value"]
            ax.plot(np.full(len(values), place), values, ".", color=colour, alpha=0.35, markersize=3, zorder=2)
    ax.set_xticks(range(len(places)), [f"{student}\nN = {size:,}" for student, size in places])
    ax.margins(x=0.15)


def _caption(data: pd.DataFrame) -> list[str]:
    texts = [
        "KL(p‖q) on test images of models trained by nll on N images, in two parts. Approximation: the KL of the same "
        "training on fresh samples at every step. It holds what the class of models cannot reach and what so many "
        "steps have not reached yet; of W and larger degrees, whose class holds the truth, it is the second alone. "
        f"Estimation: what N images add, paired by seed, with its 95 % t interval over seeds, {CONDITION}. Hollow: the "
        "first part; full: both, that is the KL of the models trained on N images; each with its own interval."
    ]
    if (data["scale"] == "log").any():
        texts.append(GEOMETRIC)
    for (weights, student, size), rows in data.groupby(["weights", "student", "num_train"], sort=False):
        means = rows[rows["kind"] == "mean"].set_index("panel")
        parts = [f"{part} {panels.average_text(means.loc[part])}" for part in PARTS]
        cells = rows.loc[rows["kind"] == "seed", "cell_id"]
        texts.append(f"{student}, N = {size:,}, {weights} weights, nats: {cite(', '.join(parts), cells)}.")
    return texts
