"""KL from the truth against the number of training images N, beside the value on fresh samples that it tends to."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from nllgen_analysis.figures import panels, style
from nllgen_analysis.figures.capacity import (
    REFERENCE_POINTS,
    WEIGHTS,
    Y_LABEL,
    draw_means,
    final_kl,
    means_text,
    planned_cells,
    scale_to_measured,
)
from nllgen_analysis.figures.style import DARK_GREY, GREY, FigureResult, NotDrawn, degree_colour
from nllgen_analysis.frames import Frames, ranked, student_order

NAME, TITLE = "kl_sample_size", "KL against sample size"
GRID = panels.Grid(
    columns=2, row_height=2.4, extra=0.6, share_x=True, share_y=True, x_label="training images N", y_label=Y_LABEL
)
COLUMNS = (
    "panel", "weights", "kind", "student", "variant", "num_train", "seed", "cell_id", "outcome", "value", "low",
    "high", "num_seeds",
)  # fmt: skip
MAX_TICKS = 5  # sizes whose labels fit below a panel


def draw_sample_size(frames: Frames) -> list[FigureResult]:
    """Draw the final KL(p‖q) of cells trained by NLL from a random start over N: a panel for last and best weights."""
    data = sample_size_data(frames)
    if data.loc[data["kind"] == "mean", "num_train"].nunique() < 2:
        reason = f"cells trained by nll from a random start have a KL at fewer than two sizes N ({frames.counts_text})"
        return [NotDrawn(NAME, TITLE, reason)]
    figure, axes = GRID.draw([name for name in WEIGHTS if (data["weights"] == name).any()])
    for weights, ax in axes.items():
        _draw_panel(ax, data[data["weights"] == weights])
        ax.set_title(f"{weights} weights")
    _limit(figure.axes[0], data)
    style.legend_below(figure, _handles(data))
    return [panels.finish(NAME, TITLE, figure, data, _caption(data), planned_cells(frames))]


def sample_size_data(frames: Frames) -> pd.DataFrame:
    """Return the plotted numbers: kind ``seed``, ``mean`` or ``reference`` (k/2N of W) by weights; fresh has N = ∞."""
    rows = final_kl(frames)
    if rows.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    size = pd.to_numeric(rows["num_train"].replace("fresh", "inf"))
    rows = ranked(rows).assign(num_train=size, panel=rows["weights"], value=rows["kl_nats"], cell_id=rows["id"])
    rows = rows.sort_values(["_student", "num_train", "seed"], kind="stable")
    both, reference = panels.with_means(rows, ["panel", "weights", "student", "variant", "num_train"]), _reference(rows)
    data = pd.concat([both, reference], ignore_index=True) if len(reference) else both
    return data.reindex(columns=list(COLUMNS))


def _reference(rows: pd.DataFrame) -> pd.DataFrame:
    """Return k/(2N) for the k parameters of W between the smallest and the largest N."""
    well = rows[rows["student"] == "W"]
    sizes = rows.loc[np.isfinite(rows["num_train"]), "num_train"]
    if well.empty or sizes.nunique() < 2:
        return pd.DataFrame()
    grid = np.geomspace(sizes.min(), sizes.max(), REFERENCE_POINTS)
    value = float(well["num_parameters"].iloc[0]) / (2 * grid)
    parts = [
        pd.DataFrame({"panel": name, "weights": name, "student": "W", "num_train": grid, "value": value})
        for name in rows["weights"].unique()
    ]
    return pd.concat(parts).assign(kind="reference")


def _draw_panel(ax: Axes, data: pd.DataFrame) -> None:
    reference = data[data["kind"] == "reference"].sort_values("num_train")
    ax.plot(reference["num_train"], reference["value"], color=GREY, linestyle="--", linewidth=0.9, zorder=0)
    measured = data[data["kind"] != "reference"]
    for (student, _), rows in measured.groupby(["student", "variant"], sort=False):
        colour = degree_colour(student)
        finite = rows[np.isfinite(rows["num_train"])].sort_values("num_train", kind="stable")
        draw_means(ax, finite, "num_train", colour, "o-", 4, colour)
        for row in rows[(rows["kind"] == "mean") & np.isinf(rows["num_train"])].itertuples(index=False):
            ax.axhline(row.value, color=colour, linestyle=":", linewidth=1.2, zorder=1)
            if np.isfinite(row.low):
                ax.axhspan(row.low, row.high, color=colour, alpha=0.12, linewidth=0, zorder=0)


def _limit(ax: Axes, data: pd.DataFrame) -> None:
    """Use a logarithmic axis of N, slightly wider than the sizes; limit the vertical axis to the measured range."""
    sizes = data["num_train"][np.isfinite(data["num_train"])]
    if sizes.nunique():
        ax.set_xscale("log")
        ax.set_xlim(sizes.min() / 1.6, sizes.max() * 1.6)
        ticks = sorted(sizes[data["kind"] == "mean"].unique())
        if len(ticks) <= MAX_TICKS:
            ax.set_xticks(ticks, [f"{int(size):,}" for size in ticks])
            ax.xaxis.set_minor_locator(NullLocator())
    scale_to_measured(ax, data[data["kind"] != "reference"])


def _handles(data: pd.DataFrame) -> list[Line2D]:
    students = student_order(data["student"].dropna())
    handles = [style.marker_key(name, degree_colour(name), linestyle="-") for name in students]
    if np.isinf(data["num_train"]).any():
        handles.append(style.line_key("fresh samples", DARK_GREY, ":"))
    if (data["kind"] == "reference").any():
        handles.append(style.line_key("k/(2N) of W", GREY, "--"))
    return handles


def _caption(data: pd.DataFrame) -> list[str]:
    texts = [
        "KL(p‖q) on test images against the number of training images N; trained by nll from a random start, the best "
        "weights being those with the best validation value. Small points: seeds; markers: mean with its 95 % t "
        "interval over seeds, conditional on the truth and the test images. Dotted with its interval: the same "
        "training on fresh samples at every step, where the error of finite data is gone.",
    ]
    if (data["kind"] == "reference").any():
        texts.append("Dashed: k/(2N) for the k parameters of W, which holds only where N is far above k.")
    last = data[(data["weights"] == "last") & (data["kind"] != "reference")]
    for (student, variant), rows in last.groupby(["student", "variant"], sort=False):
        means = means_text(rows, ["num_train"], lambda row: _size_text(row["num_train"]))
        texts.append(f"{f'{student} {variant}'.strip()}, last weights, nats: {means}.")
    return texts


def _size_text(size: float) -> str:
    return "fresh" if np.isinf(size) else f"N = {size:,.0f}"
