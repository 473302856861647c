"""Simultaneous gradient steps from the truth: the last KL by learning rate beside the predicted critical steps."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from nllgen_analysis.figures import curves
from nllgen_analysis.figures.scales import set_scale
from nllgen_analysis.figures.style import GREY, paradigm_colour
from nllgen_analysis.frames import Frames
from nllgen_analysis.text import listing, number

BOUNDS = {"critical_step": "critical step", "critical_step_run": "critical step within the run"}
_STYLES = {"critical_step": (0, (1, 2)), "critical_step_run": (0, (5, 2))}
_CONTROL = ["student", "setting", "steps", "batch_size"]


def critical_data(frames: Frames, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of the panel ``critical``, ``curves.COLUMNS``, empty if no cell has a prediction.

    Kind ``seed`` has the learning rate ``x`` and the last KL of every cell with a prediction and of the NLL cells with
    the same data, steps, batch size and optimiser. Kind ``prediction`` has the critical steps in ``x``, from the
    evaluation at step 0. ``rows`` are evaluations as in ``nash_data``.
    """
    first = rows[rows["step"] == 0]
    known = first[np.isfinite(first["critical_step"].astype(float))]
    if known.empty:
        return pd.DataFrame(columns=list(curves.COLUMNS))
    optimizer = pd.Series([cell.paradigm.optimizer for cell in frames.configs], frames.cells.index, name="optimizer")
    settings = frames.cells[["steps", "batch_size", "lr"]].join(optimizer)
    ends = rows.sort_values("step", kind="stable").groupby("cell").tail(1).join(settings, on="cell")
    predicted = ends[ends["cell"].isin(known["cell"])]
    controls = ends[(ends["paradigm"] == "nll") & (ends["optimizer"] == "sgd")]
    controls = controls[controls[_CONTROL].apply(tuple, axis=1).isin(set(predicted[_CONTROL].apply(tuple, axis=1)))]
    shown = pd.concat([predicted, controls])
    seeds = shown.assign(kind="seed", x=shown["lr"], value=shown["kl_nats"], hue=shown["paradigm"])
    parts = [seeds.assign(series=shown["paradigm"])]
    parts += [
        known.assign(kind="prediction", series=BOUNDS[column], hue="nsgan", x=known[column].astype(float))
        for column in BOUNDS
    ]
    both = pd.concat(parts, ignore_index=True)
    return both.assign(panel="critical", cell_id=both["id"]).reindex(columns=list(curves.COLUMNS))


def draw_critical(ax: Axes, data: pd.DataFrame) -> list[Line2D]:
    """Draw the panel and return its legend keys besides those of the paradigms."""
    seeds = data[data["kind"] == "seed"]
    is_diverged = seeds["outcome"] == "diverged"
    for hue, rows in seeds[is_diverged].groupby("hue", sort=False):
        # the last KL is from before the divergence, so that the cross stands at the upper edge
        ax.plot(rows["x"], np.ones(len(rows)), "x", color=paradigm_colour(hue), markersize=5, clip_on=False, zorder=3,
                transform=ax.get_xaxis_transform())  # fmt: skip
    for hue, rows in seeds[~is_diverged].groupby("hue", sort=False):
        # an open square shows a control that lies under its partner
        marker, size, face = ("o", 4, paradigm_colour(hue)) if hue == "nsgan" else ("s", 6, "none")
        ax.plot(rows["x"], rows["value"], marker, color=paradigm_colour(hue), markersize=size, markerfacecolor=face,
                clip_on=False, zorder=3)  # fmt: skip
    handles = []
    for column, name in BOUNDS.items():
        median = _median(data, name)
        if np.isfinite(median) and median > 0:
            ax.axvline(median, color=GREY, linewidth=1.1, linestyle=_STYLES[column], zorder=0)
            handles.append(Line2D([], [], color=GREY, linewidth=1.1, linestyle=_STYLES[column], label=name))
    ax.set_xscale("log")
    set_scale(ax, "y", seeds.loc[~is_diverged, "value"])
    ax.set_title("last KL by learning rate, simultaneous SGD")
    ax.set_xlabel("learning rate")
    ax.set_ylabel("KL(p‖q) (nats)")
    return handles


def critical_text(data: pd.DataFrame) -> str:
    """Return the description of the panel, for the caption."""
    if data.empty:
        return "No cell has a predicted critical step: that is of simultaneous plain gradient steps alone."
    bounds = [f"{name} {number(_median(data, name))}" for name in BOUNDS.values()]
    return (
        "Predicted for simultaneous SGD from the eigenvalues of the game linearised at the start, median over cells: "
        f"{listing(bounds)}. Below the first every mode but the null directions contracts; at the second one grows by "
        "a factor e within the run. Noise and what lies beyond the linear range are not in it. A cross at the upper "
        "edge is a cell that diverged."
    )


def _median(data: pd.DataFrame, name: str) -> float:
    values = data.loc[(data["kind"] == "prediction") & (data["series"] == name), "x"].astype(float)
    return float(values.median()) if len(values) else float("nan")
