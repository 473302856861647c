"""KL from the truth against the number of parameters, by degree."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter

from nllgen_analysis.captions import cite
from nllgen_analysis.figures.missing import with_absent
from nllgen_analysis.figures.style import (
    GREY,
    Drawn,
    FigureResult,
    NotDrawn,
    degree_colour,
    legend_below,
    new_figure,
    set_scale,
)
from nllgen_analysis.frames import Frames, ranked, student_order
from nllgen_analysis.statistics import summarise
from nllgen_analysis.text import estimate, listing

TITLE = "KL against capacity"
MAX_PANELS = 9
WEIGHTS = {"last": "o", "best": "D"}
REFERENCE_POINTS = 60


def draw_capacity(frames: Frames) -> list[FigureResult]:
    """Final KL(p‖q) of cells trained by NLL from a random start: a panel a setting, last and best weights."""
    data = capacity_data(frames)
    if data.empty:
        reason = f"no cell trained by nll from a random start on synthetic data has a KL ({frames.counts_text})"
        return [NotDrawn("kl_capacity", TITLE, reason)]
    panels = list(data["panel"].unique())
    shown = panels[:MAX_PANELS]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(rows, columns, row_height=2.3, extra=0.6)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for rank, ax in enumerate(axes.flat):
        ax.set_visible(rank < len(shown))
        if rank < len(shown):
            _draw_panel(ax, data[data["panel"] == shown[rank]])
        if rank + columns >= len(shown):
            ax.set_xlabel("parameters")
            ax.tick_params(labelbottom=True)
    for line in axes:
        line[0].set_ylabel("KL(p‖q) (nats)")
    axes[0, 0].set_xscale("log")
    axes[0, 0].xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))  # a label at each minor tick would overlap
    axes[0, 0].xaxis.set_major_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(99, 99)))
    axes[0, 0].xaxis.set_minor_formatter(NullFormatter())
    _limit(axes[0, 0], data[data["panel"].isin(shown) & (data["kind"] != "reference")])
    legend_below(figure, _handles(data))
    caption = _caption(data, panels[MAX_PANELS:])
    data, absent = with_absent(data, of_capacity(frames.cells[frames.cells["source"] == "synthetic"]))
    return [Drawn("kl_capacity", TITLE, figure, data, f"{caption} {absent}".strip())]


def capacity_data(frames: Frames) -> pd.DataFrame:
    """The plotted numbers: kind ``seed``, ``mean`` (with interval) or ``reference`` (k/2N), by panel and weights."""
    rows = final_kl(frames)
    kept = ["panel", "weights", "kind", "student", "variant", "num_parameters", "seed", "cell_id", "value", "low"]
    kept += ["high", "num_seeds"]
    if rows.empty:
        return pd.DataFrame(columns=kept)
    rows = ranked(rows.assign(panel=rows["setting"], value=rows["kl_nats"], cell_id=rows["id"]))
    rows = rows.sort_values(["_setting", "_student", "seed"])
    by = ["panel", "weights", "student", "variant", "num_parameters"]
    means = summarise(rows, by, "value").rename(columns={"mean": "value"}).assign(kind="mean")
    return pd.concat([rows.assign(kind="seed"), means, _reference(rows)], ignore_index=True).reindex(columns=kept)


def final_kl(frames: Frames) -> pd.DataFrame:
    """Rows of ``frames.final`` with a KL: last and best weights of cells trained by NLL from a random start."""
    rows = of_capacity(frames.final[np.isfinite(frames.final["kl_nats"].astype(float))])
    return rows[rows["weights"].isin(list(WEIGHTS)) & np.isfinite(rows["num_parameters"].astype(float))]


def of_capacity(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of cells trained by NLL from a random start."""
    return rows[(rows["paradigm"] == "nll") & (rows["role"] != "truth") & (rows["start"] == "random")]


def _reference(rows: pd.DataFrame) -> pd.DataFrame:
    """k/(2N): the expected KL of a well-specified maximum likelihood estimate, asymptotically (science.md)."""
    counted = rows[rows["num_train"].str.isdigit()]
    grid = np.geomspace(rows["num_parameters"].min(), rows["num_parameters"].max(), REFERENCE_POINTS)
    parts = [
        pd.DataFrame(
            {"panel": panel, "kind": "reference", "num_parameters": grid, "value": grid / (2 * int(num_train))}
        )
        for panel, num_train in counted[["panel", "num_train"]].drop_duplicates().itertuples(index=False)
    ]
    return pd.concat(parts) if parts else pd.DataFrame()


def _draw_panel(ax: Axes, data: pd.DataFrame) -> None:
    reference = data[data["kind"] == "reference"]
    ax.plot(reference["num_parameters"], reference["value"], color=GREY, linestyle="--", linewidth=0.9, zorder=0)
    for (student, weights), rows in data[data["kind"] != "reference"].groupby(["student", "weights"], sort=False):
        colour, marker = degree_colour(student), WEIGHTS[weights]
        seeds, means = rows[rows["kind"] == "seed"], rows[rows["kind"] == "mean"]
        face = colour if weights == "last" else "none"
        ax.plot(seeds["num_parameters"], seeds["value"], ".", color=colour, alpha=0.35, markersize=3, zorder=2)
        half = (means["high"] - means["value"]).fillna(0)
        ax.errorbar(means["num_parameters"], means["value"], yerr=half, fmt=marker, color=colour, markersize=5,
                    markerfacecolor=face, elinewidth=1, capsize=2, zorder=3)  # fmt: skip
    ax.set_title(data["panel"].iloc[0])


def _limit(ax: Axes, measured: pd.DataFrame) -> None:
    """The range of what was measured: k/(2N) may leave the figure where it does not hold."""
    values = measured[["value", "low", "high"]].to_numpy(float)
    values = values[np.isfinite(values)]
    if set_scale(ax, "y", measured["value"]) == "linear":
        margin = 0.08 * (np.ptp(values) or max(abs(values[0]), 1.0))
        ax.set_ylim(values.min() - margin, values.max() + margin)
    else:
        positive = values[values > 0]
        ax.set_ylim(0.7 * positive.min() if values.min() > 0 else values.min(), 1.4 * positive.max())


def _handles(data: pd.DataFrame) -> list[Line2D]:
    students = student_order(data["student"].dropna())
    handles = [
        Line2D([], [], color=degree_colour(name), marker="o", linestyle="", markersize=4, label=name)
        for name in students
    ]
    for weights, marker in WEIGHTS.items():
        if (data["weights"] == weights).any():
            face = "#444444" if weights == "last" else "none"
            handles.append(Line2D([], [], color="#444444", marker=marker, markerfacecolor=face, linestyle="",
                                  markersize=4, label=f"{weights} weights"))  # fmt: skip
    if (data["kind"] == "reference").any():
        handles.append(Line2D([], [], color=GREY, linestyle="--", label="k/(2N)"))
    return handles


def _caption(data: pd.DataFrame, hidden: list[str]) -> str:
    texts = [
        "KL(p‖q) on test images against the number of parameters k; trained by nll from a random start.",
        "Small points: seeds; markers: mean with its 95 % t interval over seeds, conditional on the truth and the test "
        "images.",
    ]
    if (data["kind"] == "reference").any():
        texts.append(
            "Dashed: k/(2N), the asymptotic value of a well-specified maximum likelihood estimate; it holds only where "
            "N is far above k."
        )
    means = data[(data["kind"] == "mean") & (data["weights"] == "last")]
    for panel, rows in means.groupby("panel", sort=False):
        seeds = data[(data["kind"] == "seed") & (data["weights"] == "last") & (data["panel"] == panel)]
        ends = [
            cite(
                f"{row.student} {row.variant} {estimate(row.value, row.high, int(row.num_seeds))}".replace("  ", " "),
                seeds.loc[(seeds["student"] == row.student) & (seeds["variant"] == row.variant), "cell_id"],
            )
            for row in rows.itertuples(index=False)
        ]
        texts.append(f"{panel}, last weights, nats: {listing(ends)}.")
    if hidden:
        texts.append(f"Not shown for want of room, but in the CSV: {', '.join(hidden)}.")
    return " ".join(texts)
