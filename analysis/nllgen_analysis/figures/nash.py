"""Training that starts at the truth: does it stay? Exact KL beside the NLL control's, and the losses at equilibrium."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from nllgen_analysis.captions import cite
from nllgen_analysis.figures.critical import critical_data, critical_text, draw_critical
from nllgen_analysis.figures.curves import (
    curve_data,
    describe_means,
    diverged_text,
    draw_curves,
    ends_text,
    legend_handles,
    measured,
    series_styles,
)
from nllgen_analysis.figures.missing import with_absent
from nllgen_analysis.figures.style import (
    GREY,
    Drawn,
    FigureResult,
    NotDrawn,
    legend_below,
    limited,
    minor_ticks,
    new_figure,
    paradigm_colour,
    set_scale,
)
from nllgen_analysis.frames import Frames, join_cells, setting_order
from nllgen_analysis.statistics import mean_interval, paired
from nllgen_analysis.text import estimate, listing, number

TITLE = "Started at the truth"
LOSSES = {"loss_disc": ("discriminator", 2 * math.log(2), "2 ln 2"), "loss_gen": ("generator", math.log(2), "ln 2")}
LOSS_COLOURS = {"discriminator": "#009E73", "generator": "#CC79A7"}
CURVES = {
    "kl": ("distance from the truth", "KL(p‖q) (nats)"),
    "distance": ("distance of the discriminator from its optimum", "‖d − r‖ (nats)"),
}
NUM_BINS = 200  # of steps; more cannot be seen at a column's width
PAIR_ON = ["student", "setting", "steps", "batch_size", "lr", "precision", "seed"]


def draw_nash(frames: Frames) -> list[FigureResult]:
    """One figure a setting: KL(p‖q) of cells that start at the truth, by paradigm, and the adversarial losses."""
    trained = frames.eval["cell"].map(frames.cells["steps"]) > 0  # W* trains nothing: it stays, and says nothing
    started = frames.eval[trained & (frames.eval["start"] == "truth") & (frames.eval["weights"] == "raw")]
    rows = measured(started, ["kl_nats"])
    if rows.empty:
        planned = int(((frames.cells["start"] == "truth") & (frames.cells["steps"] > 0)).sum())
        reason = (
            f"none of the {planned} cells that start at the truth has a KL yet ({frames.counts_text})"
            if planned
            else "no cell of the study is trained from the truth"
        )
        return [NotDrawn("nash", TITLE, reason)]
    settings, rest = limited(setting_order(rows), "nash", TITLE)
    return [*(_draw_setting(frames, rows[rows["setting"] == setting]) for setting in settings), *rest]


def nash_data(frames: Frames, rows: pd.DataFrame) -> pd.DataFrame:
    """The plotted numbers of one setting: panel ``kl``; ``loss``, ``distance`` and ``critical`` where there are any."""
    rows = rows.assign(series=series_names(rows)).sort_values("series", kind="stable")
    history = join_cells(frames.history[frames.history["cell"].isin(rows["cell"].unique())], frames.cells)
    parts = [curve_data(rows, "kl_nats", panel="kl", hue="paradigm")]
    for column, (name, _, _) in LOSSES.items():
        losses = history[np.isfinite(history[column].astype(float))]
        if len(losses):
            losses = binned(losses, column).assign(series=name, loss=name)
            parts.append(curve_data(losses, column, panel="loss", hue="loss"))
    distance = measured(rows, ["d_minus_r_nats"])
    distance = distance[distance["paradigm"] != "nll"]
    if len(distance):
        parts.append(curve_data(distance, "d_minus_r_nats", panel="distance", hue="paradigm"))
    critical = critical_data(frames, rows)
    if len(critical):
        parts.append(critical)
    return pd.concat(parts, ignore_index=True)


def series_names(rows: pd.DataFrame) -> pd.Series:
    """Paradigm, degree where there are several, and what else tells the arms of one setting apart."""
    multiple = rows["student"].nunique() > 1
    names = rows["paradigm"] + (" " + rows["student"] if multiple else "")
    return names.str.cat(rows["variant"], sep=" ").str.strip()


def binned(rows: pd.DataFrame, column: str, num_bins: int = NUM_BINS) -> pd.DataFrame:
    """Means within equal bins of steps, a row a cell and bin; untouched where there are few enough steps."""
    steps = rows["step"].astype(float)
    if rows["step"].nunique() <= num_bins:
        return rows
    width = (steps.max() - steps.min() + 1) / num_bins
    middle = steps.min() + (np.floor((steps - steps.min()) / width) + 0.5) * width
    keys = ["cell", "id", "seed", "outcome", "student", "paradigm"]
    return rows.assign(step=middle).groupby([*keys, "step"], sort=False)[column].mean().reset_index()


def control_pairs(frames: Frames, rows: pd.DataFrame) -> pd.DataFrame:
    """The last finite KL of every adversarial cell beside that of its NLL control: same data, steps, batch and seed.

    A cell that diverged before it was measured a second time has none: at the start every KL is 0. ``series`` names the
    arm of the adversarial cell.
    """
    rows = rows.assign(series=series_names(rows))
    known = rows[np.isfinite(rows["kl_nats"].astype(float)) & (rows["step"] > 0)]
    ends = known.sort_values("step", kind="stable").groupby("cell").tail(1)
    ends = ends.join(frames.cells[["steps", "batch_size", "lr", "precision"]], on="cell")
    control = ends[ends["paradigm"] == "nll"]
    return paired(ends[ends["paradigm"] != "nll"], control, "kl_nats", PAIR_ON, keep=("series",))


def _draw_setting(frames: Frames, rows: pd.DataFrame) -> Drawn:
    data = nash_data(frames, rows)
    panels = {str(name): part for name, part in data.groupby("panel", sort=False)}
    kl, loss = panels["kl"], panels.get("loss", data.iloc[:0])
    styles = series_styles(kl)
    num_rows, num_columns = -(-len(panels) // 2), min(len(panels), 2)
    figure = new_figure(num_rows, num_columns, row_height=2.5)
    axes = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    handles = legend_handles(kl, paradigm_colour, styles)
    for ax, (name, part) in zip(axes, panels.items(), strict=False):
        if name == "critical":
            handles += draw_critical(ax, part)
            continue
        if name == "loss":
            _draw_losses(ax, loss)
            names = loss["series"].unique()
            handles += [Line2D([], [], color=LOSS_COLOURS[name], label=f"{name} loss") for name in names]
        else:
            draw_curves(ax, part, paradigm_colour, styles)
            title, label = CURVES[name]
            ax.set_title(title)
            ax.set_ylabel(label)
            set_scale(ax, "y", part["value"])
        ax.set_xlabel("optimiser steps")
        minor_ticks(ax, "x")
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    legend_below(figure, handles)
    setting, slug = rows["setting"].iloc[0], rows["slug"].iloc[0]
    critical = panels.get("critical", data.iloc[:0])
    caption = _caption(setting, kl, loss, control_pairs(frames, rows), critical)
    cells = frames.cells[(frames.cells["setting"] == setting) & (frames.cells["start"] == "truth")]
    data, absent = with_absent(data, cells[cells["steps"] > 0])
    return Drawn(f"nash_{slug}", f"{TITLE}: {setting}", figure, data, f"{caption} {absent}".strip())


def _draw_losses(ax: Axes, loss: pd.DataFrame) -> None:
    draw_curves(ax, loss, lambda name: LOSS_COLOURS[name], dict.fromkeys(loss["series"], "-"))
    set_scale(ax, "y", loss["value"])
    for _, level, text in LOSSES.values():  # ln 2 hangs below its line: losses that explode bring the two together
        ax.axhline(level, color=GREY, linewidth=0.9, linestyle=(0, (5, 2)), zorder=0)
        ax.annotate(text, (1, level), xycoords=("axes fraction", "data"), xytext=(2, 0), textcoords="offset points",
                    va="bottom" if level > 1 else "top", fontsize=7, color="#555555")  # fmt: skip
    ax.set_title("losses and their equilibrium values")
    ax.set_ylabel("loss (nats)")


def _caption(setting: str, kl: pd.DataFrame, loss: pd.DataFrame, pairs: pd.DataFrame, critical: pd.DataFrame) -> str:
    texts = [
        f"Cells that start at the truth's own weights, trained on {setting}.",
        describe_means(),
        f"KL in nats at the last evaluation: {ends_text(kl)}.",
        _pairs_text(pairs),
        f"Losses are means within {NUM_BINS} bins of steps or finer; dashed: 2 ln 2 and ln 2, their values at the "
        "equilibrium."
        if len(loss)
        else "No cell here has adversarial losses.",
        critical_text(critical) if len(loss) else "",
        diverged_text(kl),
    ]
    return " ".join(text for text in texts if text)


def _pairs_text(pairs: pd.DataFrame) -> str:
    if pairs.empty:
        return "No adversarial cell has an NLL control of the same data, steps, batch size and seed."
    texts = []
    for name, arm in pairs.groupby("series", sort=True):
        difference = mean_interval(arm["difference"])
        ratios = [f"seed {row.seed}: {number(row.ratio)}" for row in arm.itertuples(index=False)]
        told = estimate(difference.mean, difference.high, difference.num_seeds)
        texts.append(
            f"of {name} {cite(told, [*arm['id_first'], *arm['id_second']])} nats; as a ratio, {listing(ratios)}"
        )
    return f"Last KL minus its NLL control's, paired by seed: {'; '.join(texts)}."
