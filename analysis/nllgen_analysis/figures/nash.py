"""Training that starts at the truth: the exact KL beside the NLL control's, and the losses beside their equilibrium.

Of simultaneous gradient steps also the last KL by learning rate, beside the predicted critical steps.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from nllgen_analysis.cells_frame import NEAR_TRUTH
from nllgen_analysis.figures import curves, panels, scales, style
from nllgen_analysis.figures.style import GREY, FigureResult, NotDrawn, paradigm_colour
from nllgen_analysis.frames import Frames, join_cells
from nllgen_analysis.statistics import mean_interval, paired
from nllgen_analysis.text import cite, estimate, listing, number

NAME, TITLE = "nash", "Started at the truth"
GRID = panels.Grid(columns=2, row_height=2.5)
LOSSES = {"loss_disc": ("discriminator", 2 * math.log(2), "2 ln 2"), "loss_gen": ("generator", math.log(2), "ln 2")}
CURVES = {
    "kl": ("distance from the truth", "KL(p‖q) (nats)"),
    "loss_disc": ("discriminator's loss", "loss (nats)"),
    "loss_gen": ("generator's loss", "loss (nats)"),
    "distance": ("distance of the discriminator from its optimum", "‖d − r‖ (nats)"),
}
NUM_BINS = 200  # of steps; more cannot be seen at a column's width
PAIR_ON = ["student", "setting", "steps", "batch_size", "lr", "precision", "seed"]
BOUNDS = {"critical_step": "critical step", "critical_step_run": "critical step within the run"}
_STYLES = {"critical_step": (0, (1, 2)), "critical_step_run": (0, (5, 2))}
_CONTROL = ["student", "setting", "steps", "batch_size"]


def draw_nash(frames: Frames) -> list[FigureResult]:
    """Draw one figure per setting: KL(p‖q) of cells that start at the truth by paradigm, and the losses."""
    is_trained = frames.eval["cell"].map(frames.cells["steps"]) > 0  # W* is not trained and stays at the truth
    started = frames.eval[is_trained & (frames.eval["start"] == "truth") & (frames.eval["weights"] == "raw")]
    rows = curves.measured(started, ["kl_nats"])
    num_planned = int(((frames.cells["start"] == "truth") & (frames.cells["steps"] > 0)).sum())
    if not num_planned:
        return [NotDrawn(NAME, TITLE, "no cell of the study is trained from the truth")]
    lack = f"none of the {num_planned} cells that start at the truth has a KL yet"
    return panels.draw_settings(frames, rows, NAME, TITLE, _draw_setting, lack)


def nash_data(frames: Frames, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the plotted numbers of one setting, a series per arm.

    Panel ``kl``; if known ``loss_disc``, ``loss_gen``, ``distance`` and ``critical``.
    """
    rows = rows.assign(series=series_names(rows)).sort_values("series", kind="stable")
    names = rows.drop_duplicates("cell").set_index("cell")["series"]
    history = join_cells(frames.history[frames.history["cell"].isin(rows["cell"].unique())], frames.cells)
    parts = [_curve(rows, "kl_nats", "kl", is_ratio=True)]
    for column in LOSSES:
        losses = panels.finite(history, column)
        if len(losses):
            losses = binned(losses, column)
            losses = losses.assign(series=losses["cell"].map(names)).sort_values("series", kind="stable")
            parts.append(_curve(losses, column, column, is_ratio=False))
    distance = curves.measured(rows, ["d_minus_r_nats"])
    distance = distance[distance["paradigm"] != "nll"]
    if len(distance):
        parts.append(_curve(distance, "d_minus_r_nats", "distance", is_ratio=True))
    predicted = critical_data(frames, rows)
    if len(predicted):
        parts.append(predicted)
    return pd.concat(parts, ignore_index=True)


def _curve(rows: pd.DataFrame, value: str, panel: str, *, is_ratio: bool) -> pd.DataFrame:
    scale = scales.scale_of(rows[value], is_ratio=is_ratio)
    return curves.curve_data(rows, value, panel=panel, hue="paradigm", scale=scale)


def series_names(rows: pd.DataFrame) -> pd.Series:
    """Return the paradigm, the degree if there are several, and what else varies between the arms of a setting."""
    names = rows["paradigm"] + (" " + rows["student"] if rows["student"].nunique() > 1 else "")
    return names.str.cat(rows["variant"], sep=" ").str.strip()


def binned(rows: pd.DataFrame, column: str, num_bins: int = NUM_BINS) -> pd.DataFrame:
    """Return means within equal bins of steps, one row per cell and bin; leave few steps as they are."""
    steps = rows["step"].astype(float)
    if rows["step"].nunique() <= num_bins:
        return rows
    width = (steps.max() - steps.min() + 1) / num_bins
    middle = steps.min() + (np.floor((steps - steps.min()) / width) + 0.5) * width
    keys = ["cell", "id", "seed", "outcome", "student", "paradigm"]
    return rows.assign(step=middle).groupby([*keys, "step"], sort=False)[column].mean().reset_index()


def control_pairs(frames: Frames, rows: pd.DataFrame) -> pd.DataFrame:
    """Match the last finite KL of adversarial cells to that of NLL cells with the same data, steps, batch and seed.

    A cell that diverged before its second evaluation has no pair: every KL is 0 at the start. ``series`` names the arm
    of the adversarial cell.
    """
    rows = panels.finite(rows.assign(series=series_names(rows)), "kl_nats")
    ends = rows[rows["step"] > 0].sort_values("step", kind="stable").groupby("cell").tail(1)
    ends = ends.join(frames.cells[["steps", "batch_size", "lr", "precision"]], on="cell")
    control = ends[ends["paradigm"] == "nll"]
    return paired(ends[ends["paradigm"] != "nll"], control, "kl_nats", PAIR_ON, keep=("series",))


def _draw_setting(frames: Frames, rows: pd.DataFrame) -> panels.Parts:
    data, setting = nash_data(frames, rows), rows["setting"].iloc[0]
    parts = {str(name): part for name, part in data.groupby("panel", sort=False)}
    looks = curves.looks(parts["kl"], paradigm_colour)
    handles = curves.legend_handles(parts["kl"], looks)
    figure, axes = GRID.draw(list(parts))
    for name, ax in axes.items():
        if name == "critical":
            handles += draw_critical(ax, parts[name], looks[0])
            continue
        curves.draw_curves(ax, parts[name], looks)
        _label_curves(ax, *CURVES[name], parts[name])
        if name in LOSSES:
            _draw_equilibrium(ax, *LOSSES[name][1:])
    style.legend_below(figure, handles)
    cells = frames.cells[(frames.cells["setting"] == setting) & (frames.cells["start"] == "truth")]
    near = rows["student"].str.endswith(NEAR_TRUTH).any()
    return figure, data, _caption(setting, parts, control_pairs(frames, rows), near), cells[cells["steps"] > 0]


def _label_curves(ax: Axes, title: str, y_label: str, data: pd.DataFrame) -> None:
    ax.set_title(title)
    ax.set_xlabel("optimiser steps")
    ax.set_ylabel(y_label)
    scales.use_scale(ax, "y", data["scale"].iloc[0], data.loc[data["kind"] == "seed", "value"])
    scales.minor_ticks(ax, "x")


def _draw_equilibrium(ax: Axes, level: float, text: str) -> None:
    style.reference_line(ax, level)
    ax.annotate(text, (1, level), xycoords=("axes fraction", "data"), xytext=(2, 0), textcoords="offset points",
                va="center", fontsize=7, color="#555555")  # fmt: skip


def _caption(setting: str, parts: dict[str, pd.DataFrame], pairs: pd.DataFrame, near: bool) -> list[str]:
    """Return the caption; ``near`` if some cells start beside the truth, with noise on its weights."""
    start, zero = ("or with noise on them (near truth), ", "at the truth") if near else ("", "at the start")
    is_log = parts["kl"]["scale"].eq("log").any()
    texts = [
        f"Cells that start at the truth's own weights, {start}trained on {setting}.",
        curves.description(parts["kl"]),
        f"KL is 0 {zero}, which a logarithmic axis does not have." if is_log else "",
        f"KL in nats at the last evaluation: {curves.ends_text(parts['kl'])}.",
        _pairs_text(pairs),
    ]
    if any(name in parts for name in LOSSES):
        texts += [
            f"Losses are means within {NUM_BINS} bins of steps or finer; dashed: 2 ln 2 and ln 2, their values at the "
            "equilibrium.",
            critical_text(parts.get("critical", pd.DataFrame())),
        ]
    else:
        texts.append("No cell here has adversarial losses.")
    return [*texts, curves.diverged_text(parts["kl"])]


def _pairs_text(pairs: pd.DataFrame) -> str:
    if pairs.empty:
        return "No adversarial cell has an NLL control of the same data, steps, batch size and seed."
    texts = []
    for name, arm in pairs.groupby("series", sort=True):
        mean = mean_interval(arm["difference"])
        ratios = [f"seed {row.seed}: {number(row.ratio)}" for row in arm.itertuples(index=False)]
        difference = cite(estimate(mean.mean, mean.high, mean.num_seeds), [*arm["id_first"], *arm["id_second"]])
        texts.append(f"of {name} {difference} nats; as a ratio, {listing(ratios)}")
    return f"Last KL minus its NLL control's, paired by seed: {'; '.join(texts)}."


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
    shown = shown.assign(arm=shown["series"])
    seeds = shown.assign(kind="seed", x=shown["lr"], value=shown["kl_nats"], hue=shown["paradigm"])
    parts = [seeds.assign(series=shown["paradigm"])]
    parts += [
        known.assign(kind="prediction", series=BOUNDS[column], hue="nsgan", x=known[column].astype(float))
        for column in BOUNDS
    ]
    both = pd.concat(parts, ignore_index=True)
    return both.assign(panel="critical", cell_id=both["id"]).reindex(columns=list(curves.COLUMNS))


def draw_critical(ax: Axes, data: pd.DataFrame, colours: dict[str, str]) -> list[Line2D]:
    """Draw the panel in the colours of the arms and return its legend keys besides theirs."""
    seeds = data[data["kind"] == "seed"]
    is_diverged = seeds["outcome"] == "diverged"
    for arm, rows in seeds[is_diverged].groupby("arm", sort=False):
        # the last KL is from before the divergence, so that the cross stands at the upper edge
        ax.plot(rows["x"], np.ones(len(rows)), "x", color=colours[arm], markersize=5, clip_on=False, zorder=3,
                transform=ax.get_xaxis_transform())  # fmt: skip
    for (hue, arm), rows in seeds[~is_diverged].groupby(["hue", "arm"], sort=False):
        # an open square shows a control that lies under its partner
        marker, size, face = ("o", 4, colours[arm]) if hue == "nsgan" else ("s", 6, "none")
        ax.plot(rows["x"], rows["value"], marker, color=colours[arm], markersize=size, markerfacecolor=face,
                clip_on=False, zorder=3)  # fmt: skip
    handles = []
    for column, name in BOUNDS.items():
        median = _median(data, name)
        if np.isfinite(median) and median > 0:
            ax.axvline(median, color=GREY, linewidth=1.1, linestyle=_STYLES[column], zorder=0)
            handles.append(Line2D([], [], color=GREY, linewidth=1.1, linestyle=_STYLES[column], label=name))
    scales.use_scale(ax, "x", "log", data["x"])
    scales.set_scale(ax, "y", seeds.loc[~is_diverged, "value"], is_ratio=True)
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
