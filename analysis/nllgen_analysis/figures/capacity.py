"""KL from the truth against the number of parameters, and against the number of training images N."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from nllgen_analysis.figures import panels, scales, style
from nllgen_analysis.figures.style import DARK_GREY, GREY, FigureResult, NotDrawn, degree_colour
from nllgen_analysis.frames import Frames, ranked, student_order
from nllgen_analysis.text import GEOMETRIC, cite, listing

NAME, TITLE = "kl_capacity", "KL against capacity"
Y_LABEL = "KL(p‖q) (nats)"
GRID = panels.Grid(extra=0.6, share_x=True, share_y=True, x_label="parameters", y_label=Y_LABEL)
MAX_PANELS = 9
WEIGHTS = {"last": "o", "best": "D"}
REFERENCE_POINTS = 60
COLUMNS = (
    "panel", "weights", "kind", "student", "variant", "num_parameters", "seed", "cell_id", "value", "low", "high",
    "num_seeds", "scale",
)  # fmt: skip
SIZE_NAME, SIZE_TITLE = "kl_sample_size", "KL against sample size"
SIZE_GRID = panels.Grid(
    columns=2, row_height=2.4, extra=0.6, share_x=True, share_y=True, x_label="training images N", y_label=Y_LABEL
)
SIZE_COLUMNS = (
    "panel", "weights", "kind", "student", "variant", "num_train", "seed", "cell_id", "outcome", "value", "low",
    "high", "num_seeds", "scale",
)  # fmt: skip
MAX_TICKS = 5  # sizes whose labels fit below a panel
MIN_CLEAR = 0.16  # share of the axis between two sizes whose labels do not overlap


def draw_capacity(frames: Frames) -> list[FigureResult]:
    """Draw the final KL(p‖q) of cells trained by NLL from a random start: a panel per setting."""
    data = capacity_data(frames)
    if data.empty:
        reason = f"no cell trained by nll from a random start on synthetic data has a KL ({frames.counts_text})"
        return [NotDrawn(NAME, TITLE, reason)]
    sizes = data[data["kind"] == "mean"].groupby("panel", sort=False)["num_parameters"].nunique()
    names, single = list(sizes.index[sizes > 1]), list(sizes.index[sizes == 1])
    if not names:
        reason = f"no setting has models of two sizes that were trained by nll from a random start: {listing(single)}"
        return [NotDrawn(NAME, TITLE, f"{reason} ({frames.counts_text})")]
    shown, hidden = names[:MAX_PANELS], names[MAX_PANELS:]
    figure, axes = GRID.draw(shown)
    for name, ax in axes.items():
        _draw_panel(ax, data[data["panel"] == name])
    first = figure.axes[0]
    scales.use_scale(first, "x", "log", data["num_parameters"])
    _scale_to_measured(first, data[data["panel"].isin(shown) & (data["kind"] != "reference")])
    style.legend_below(figure, _handles(data))
    return [panels.finish(NAME, TITLE, figure, data, _caption(data, hidden, single), planned_cells(frames))]


def capacity_data(frames: Frames) -> pd.DataFrame:
    """Return the plotted numbers: kind ``seed``, ``mean`` or ``reference`` (k/2N), by panel and weights.

    Means suit the scale of the axis: on a logarithmic one they are geometric.
    """
    rows = final_kl(frames)
    if rows.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = ranked(rows.assign(panel=rows["setting"], value=rows["kl_nats"], cell_id=rows["id"]))
    rows = rows.sort_values(["_setting", "_student", "seed"])
    by = ["panel", "weights", "student", "variant", "num_parameters"]
    both = panels.with_means(rows, by, scales.scale_of(rows["value"], is_ratio=True))
    return pd.concat([both, _reference(rows)], ignore_index=True).reindex(columns=list(COLUMNS))


def final_kl(frames: Frames) -> pd.DataFrame:
    """Return rows of ``frames.final`` with a KL: last and best weights of cells trained by NLL from a random start."""
    rows = _nll_from_random(panels.finite(frames.final, "kl_nats"))
    return panels.finite(rows[rows["weights"].isin(list(WEIGHTS))], "num_parameters")


def planned_cells(frames: Frames) -> pd.DataFrame:
    """Return the cells that are trained by NLL from a random start on synthetic data."""
    return _nll_from_random(frames.cells[frames.cells["source"] == "synthetic"])


def _nll_from_random(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["paradigm"] == "nll") & (rows["role"] != "truth") & (rows["start"] == "random")]


def _reference(rows: pd.DataFrame) -> pd.DataFrame:
    """Return k/(2N), the asymptotic expected KL of a well-specified maximum likelihood estimate (science.md)."""
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
        colour = degree_colour(student)
        face = colour if weights == "last" else "none"
        _draw_means(ax, rows, "num_parameters", colour, WEIGHTS[weights], 5, face)


def _handles(data: pd.DataFrame) -> list[Line2D]:
    handles = [style.marker_key(name, degree_colour(name)) for name in student_order(data["student"].dropna())]
    for weights, marker in WEIGHTS.items():
        if (data["weights"] == weights).any():
            face = DARK_GREY if weights == "last" else "none"
            handles.append(style.marker_key(f"{weights} weights", DARK_GREY, marker, face=face))
    if (data["kind"] == "reference").any():
        handles.append(style.line_key("k/(2N)", GREY, "--"))
    return handles


def _caption(data: pd.DataFrame, hidden: list[str], single: list[str]) -> list[str]:
    texts = [
        "KL(p‖q) on test images against the number of parameters k; trained by nll from a random start.",
        "Small points: seeds; markers: mean with its 95 % t interval over seeds, conditional on the truth and the test "
        "images.",
        GEOMETRIC if (data["scale"] == "log").any() else "",
    ]
    if (data["kind"] == "reference").any():
        texts.append(
            "Dashed: k/(2N), the asymptotic value of a well-specified maximum likelihood estimate; it holds only where "
            "N is far above k."
        )
    for panel, rows in data[data["weights"] == "last"].groupby("panel", sort=False):
        means = _means_text(rows, ["student", "variant"], lambda row: f"{row['student']} {row['variant']}".strip())
        texts.append(f"{panel}, last weights, nats: {means}.")
    alone = f"Without a panel, as all models have one size: {listing(single)}." if single else ""
    return [*texts, alone, panels.hidden_text(hidden)]


def _means_text(rows: pd.DataFrame, keys: list[str], name: Callable[[Mapping[Hashable, Any]], str]) -> str:
    """Return the named means of a caption, each with the cells behind it, which agree with it in ``keys``."""
    seeds = rows[rows["kind"] == "seed"]
    texts = []
    for row in rows[rows["kind"] == "mean"].to_dict("records"):
        behind = seeds.loc[(seeds[keys] == [row[key] for key in keys]).all(axis=1), "cell_id"]
        texts.append(cite(f"{name(row)} {panels.average_text(row)}", behind))
    return listing(texts)


def _draw_means(ax: Axes, rows: pd.DataFrame, x: str, colour: str, fmt: str, size: float, face: str) -> None:
    """Draw faint seeds, and means with their intervals."""
    seeds, means = rows[rows["kind"] == "seed"], rows[rows["kind"] == "mean"]
    ax.plot(seeds[x], seeds["value"], ".", color=colour, alpha=0.35, markersize=3, zorder=2)
    bars = panels.bar_lengths(means["low"], means["value"], means["high"])
    ax.errorbar(means[x], means["value"], yerr=bars, fmt=fmt, color=colour, markersize=size, markerfacecolor=face,
                elinewidth=1, linewidth=1, capsize=2, zorder=3)  # fmt: skip


def _scale_to_measured(ax: Axes, measured: pd.DataFrame) -> None:
    """Scale the vertical axis by the measured values; k/(2N) may leave the figure."""
    scale = measured["scale"].iloc[0]
    scales.use_scale(ax, "y", scale, measured.loc[measured["kind"] == "seed", "value"])
    if scale == "linear":
        values = measured[["value", "low", "high"]].to_numpy(float)
        values = values[np.isfinite(values)]
        scales.pad_limits(ax, values, 0.08, least=max(abs(values[0]), 1.0))


def draw_sample_size(frames: Frames) -> list[FigureResult]:
    """Draw the final KL(p‖q) of cells trained by NLL from a random start over N: a panel for last and best weights."""
    data = sample_size_data(frames)
    if data.loc[data["kind"] == "mean", "num_train"].nunique() < 2:
        reason = f"cells trained by nll from a random start have a KL at fewer than two sizes N ({frames.counts_text})"
        return [NotDrawn(SIZE_NAME, SIZE_TITLE, reason)]
    figure, axes = SIZE_GRID.draw([name for name in WEIGHTS if (data["weights"] == name).any()])
    for weights, ax in axes.items():
        _draw_size_panel(ax, data[data["weights"] == weights])
        ax.set_title(f"{weights} weights")
    _limit_sizes(figure.axes[0], data)
    style.legend_below(figure, _size_handles(data))
    return [panels.finish(SIZE_NAME, SIZE_TITLE, figure, data, _size_caption(data), planned_cells(frames))]


def sample_size_data(frames: Frames) -> pd.DataFrame:
    """Return the plotted numbers: kind ``seed``, ``mean`` or ``reference`` (k/2N of W) by weights; fresh has N = ∞."""
    rows = final_kl(frames)
    if rows.empty:
        return pd.DataFrame(columns=list(SIZE_COLUMNS))
    size = pd.to_numeric(rows["num_train"].replace("fresh", "inf"))
    rows = ranked(rows).assign(num_train=size, panel=rows["weights"], value=rows["kl_nats"], cell_id=rows["id"])
    rows = rows.sort_values(["_student", "num_train", "seed"], kind="stable")
    both, reference = (
        panels.with_means(
            rows, ["panel", "weights", "student", "variant", "num_train"], scales.scale_of(rows["value"], is_ratio=True)
        ),
        _size_reference(rows),
    )
    data = pd.concat([both, reference], ignore_index=True) if len(reference) else both
    return data.reindex(columns=list(SIZE_COLUMNS))


def _size_reference(rows: pd.DataFrame) -> pd.DataFrame:
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


def _draw_size_panel(ax: Axes, data: pd.DataFrame) -> None:
    reference = data[data["kind"] == "reference"].sort_values("num_train")
    ax.plot(reference["num_train"], reference["value"], color=GREY, linestyle="--", linewidth=0.9, zorder=0)
    measured = data[data["kind"] != "reference"]
    for (student, _), rows in measured.groupby(["student", "variant"], sort=False):
        colour = degree_colour(student)
        finite = rows[np.isfinite(rows["num_train"])].sort_values("num_train", kind="stable")
        _draw_means(ax, finite, "num_train", colour, "o-", 4, colour)
        for row in rows[(rows["kind"] == "mean") & np.isinf(rows["num_train"])].itertuples(index=False):
            ax.axhline(row.value, color=colour, linestyle=":", linewidth=1.2, zorder=1)
            if np.isfinite(row.low):
                ax.axhspan(row.low, row.high, color=colour, alpha=0.12, linewidth=0, zorder=0)


def _limit_sizes(ax: Axes, data: pd.DataFrame) -> None:
    """Use a logarithmic axis of N, slightly wider than the sizes; limit the vertical axis to the measured range."""
    sizes = data["num_train"][np.isfinite(data["num_train"])]
    if sizes.nunique():
        ax.set_xscale("log")
        scales.limit_log(ax, "x", sizes.min() / 1.6, sizes.max() * 1.6)
        ticks = np.sort(sizes[data["kind"] == "mean"].unique())
        clear = MIN_CLEAR * np.log(2.56 * ticks.max() / ticks.min())
        if len(ticks) <= MAX_TICKS and (np.diff(np.log(ticks)) > clear).all():
            ax.set_xticks(ticks, [f"{int(size):,}" for size in ticks])
            ax.xaxis.set_minor_locator(NullLocator())
    _scale_to_measured(ax, data[data["kind"] != "reference"])


def _size_handles(data: pd.DataFrame) -> list[Line2D]:
    students = student_order(data["student"].dropna())
    handles = [style.marker_key(name, degree_colour(name), linestyle="-") for name in students]
    if np.isinf(data["num_train"]).any():
        handles.append(style.line_key("fresh samples", DARK_GREY, ":"))
    if (data["kind"] == "reference").any():
        handles.append(style.line_key("k/(2N) of W", GREY, "--"))
    return handles


def _size_caption(data: pd.DataFrame) -> list[str]:
    texts = [
        "KL(p‖q) on test images against the number of training images N; trained by nll from a random start, the best "
        "weights being those with the best validation value. Small points: seeds; markers: mean with its 95 % t "
        "interval over seeds, conditional on the truth and the test images. Dotted with its interval: the same "
        "training on fresh samples at every step, where the error of finite data is gone.",
        GEOMETRIC if (data["scale"] == "log").any() else "",
    ]
    if (data["kind"] == "reference").any():
        texts.append("Dashed: k/(2N) for the k parameters of W, which holds only where N is far above k.")
    last = data[(data["weights"] == "last") & (data["kind"] != "reference")]
    for (student, variant), rows in last.groupby(["student", "variant"], sort=False):
        means = _means_text(rows, ["num_train"], lambda row: _size_text(row["num_train"]))
        texts.append(f"{f'{student} {variant}'.strip()}, last weights, nats: {means}.")
    return texts


def _size_text(size: float) -> str:
    return "fresh" if np.isinf(size) else f"N = {size:,.0f}"
