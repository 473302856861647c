"""Cells as points in a plane of two measures: likelihood, precision and cost against image quality.

Every seed is a faint point, the mean of a group with its t intervals lies in front.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nllgen.study.image_sets import REAL
from nllgen_analysis.figures import panels, point_axes, style
from nllgen_analysis.figures.point_axes import GROUP
from nllgen_analysis.figures.style import DARK_GREY, EXTRACTORS, GREY, FigureResult, NotDrawn
from nllgen_analysis.frames import Frames
from nllgen_analysis.statistics import rank_correlation, summarise
from nllgen_analysis.text import CONDITION, GEOMETRIC, MINUS, between, cite, estimate, listing, number

Decorate = Callable[[Axes, pd.DataFrame], str]  # draws the rest of a panel, returns its text
COLUMNS = (
    *GROUP, "kind", "seed", "cell_id", "outcome", "x", "x_low", "x_high", "y", "y_low", "y_high", "num_seeds", "floor",
    "x_scale", "y_scale",
)  # fmt: skip
KEY_CHARACTERS = 23  # in a line of a key
MAX_MEANS = 6  # groups in a caption, two numbers each
# in order of preference: column of final → axis label
_NLL = {"test_nll_nats": "test NLL (nats per image)"}
LIKELIHOODS = {"test_bits_per_dim": "test NLL (bits per dimension)"} | _NLL  # of real images
DIVERGENCES = {"kl_nats": "KL(p‖q) on test images (nats)"} | _NLL  # of images whose density is known
DESCRIPTION = (
    "Faint: cells at their last step, on the test split; markers: means of groups with 95 % t intervals over "
    f"seeds, {CONDITION}."
)
PLANE_LABELS = ("recall (share of references)", "precision (share of samples)")
FLOOR = "reference"
GRID = panels.Grid(columns=2, row_height=2.7, extra=0.6)


def draw_scatter(frames: Frames) -> list[FigureResult]:
    """Draw final NLL against final Fréchet distance: a figure per feature extractor, a panel per source."""
    return [_draw_scatter(frames, extractor) for extractor in EXTRACTORS]


def scatter_data(frames: Frames, extractor: str) -> pd.DataFrame:
    """Return the plotted numbers, ``COLUMNS``: likelihood along x, Fréchet distance along y."""
    y, y_label = f"frechet_{extractor}", style.frechet_label(extractor)
    rows = _final_rows(frames)
    rows = panels.finite(rows.assign(floor=rows[f"frechet_floor_{extractor}"]), y)
    parts = []
    for source, name in frames.source_titles.items():
        if measure := _likelihood(rows, source):
            x, label = measure
            parts.append(point_data(rows[rows["source"] == source], x, y, panel=name, labels=(label, y_label)))
    return point_axes.with_scales(_join_panels(parts))


def _draw_scatter(frames: Frames, extractor: str) -> FigureResult:
    features = EXTRACTORS[extractor]
    name, title = f"nll_frechet_{extractor}", f"Likelihood against image quality ({features} features)"
    data = scatter_data(frames, extractor)
    if data.empty:
        reason = f"no cell has both a final NLL and a final Fréchet distance on {features} features"
        return NotDrawn(name, title, f"{reason} ({frames.counts_text})")
    figure, correlations = _draw_panels(GRID, data, frames.cells, _decorate_scatter)
    texts = [
        _description(data),
        "Dotted grey: floor at equal N. Spearman's ρ over cells, with its 95 % interval of a bootstrap over seeds, "
        f"describes and does not test; it is conditional on these groups: {'; '.join(correlations)}.",
    ]
    return panels.finish(name, title, figure, data, texts, frames.cells[frames.cells["role"] != "truth"])


def _decorate_scatter(ax: Axes, data: pd.DataFrame) -> str:
    """Draw floor, scales and title, and return the correlation as text."""
    panel, cells = data["panel"].iloc[0], data[data["kind"] == "cell"]
    floor = data["floor"].astype(float)
    if np.isfinite(floor).any():
        style.floor_line(ax, floor[np.isfinite(floor)].mean())
    point_axes.use_scales(ax, data, data)
    correlation = rank_correlation(cells["x"], cells["y"], cells["seed"])
    num, rho = correlation.num, correlation.rho
    if np.isnan(rho):
        ax.set_title(f"{panel} (n = {num})")
        return cite(f"{panel}: not defined (n = {num})", cells["cell_id"])
    ax.set_title(f"{panel}, ρ = {rho:.2f} (n = {num})".replace("-", MINUS))
    interval = correlation.note or f"{number(correlation.low, 2)} … {number(correlation.high, 2)}"
    return cite(f"{panel}: ρ = {number(rho, 2)} ({interval}; n = {num})", cells["cell_id"])


def draw_plane(frames: Frames) -> list[FigureResult]:
    """Draw precision against recall: a figure per feature extractor, a panel per source."""
    return [_draw_plane(frames, extractor) for extractor in EXTRACTORS]


def plane_data(frames: Frames, extractor: str) -> pd.DataFrame:
    """Return the plotted numbers, ``COLUMNS``: recall along x, precision along y, floors as ``reference``."""
    rows = _final_rows(frames)
    floors = [f"recall_floor_{extractor}", f"precision_floor_{extractor}"]
    parts = []
    for source, name in frames.source_titles.items():
        own = rows[rows["source"] == source]
        part = point_data(own, f"recall_{extractor}", f"precision_{extractor}", panel=name, labels=PLANE_LABELS)
        known = own[np.isfinite(own[floors].astype(float)).all(axis=1)]
        if len(part) and len(known):
            x, y = known[floors].astype(float).mean()
            part = pd.concat([part, pd.DataFrame([{"panel": name, "kind": FLOOR, "x": x, "y": y}])])
        parts.append(part)
    return _join_panels(parts).assign(x_scale="linear", y_scale="linear")


def _draw_plane(frames: Frames, extractor: str) -> FigureResult:
    features = EXTRACTORS[extractor]
    name, title = f"precision_recall_{extractor}", f"Precision and recall ({features} features)"
    data = plane_data(frames, extractor)
    if data.empty:
        return NotDrawn(name, title, f"no cell has precision and recall on {features} features ({frames.counts_text})")
    has_floor = (data["kind"] == FLOOR).any()
    handles = [style.marker_key("reference at equal N", GREY, "+", size=9)] if has_floor else []
    figure, means = _draw_panels(GRID, data, frames.cells, _decorate_plane, handles)
    num = frames.study.get("metrics", {}).get("num_samples")
    texts = [
        f"Precision is the share of {f'{num:,} ' if isinstance(num, int) else ''}model samples within the k nearest "
        f"neighbours' reach of a reference image, recall the share of references within that of a sample; k = 5, "
        f"{features} features. Both depend on N and on the features.",
        DESCRIPTION,
        *means,
    ]
    return panels.finish(name, title, figure, data, texts, frames.cells[frames.cells["role"] != "truth"])


def _decorate_plane(ax: Axes, data: pd.DataFrame) -> str:
    floor = data[data["kind"] == FLOOR]
    ax.plot(floor["x"], floor["y"], "+", color=GREY, markersize=9, markeredgewidth=1.4, zorder=1)
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(-0.03, 1.03)
    crosses = [f"cross: recall {number(row.x)}, precision {number(row.y)}; " for row in floor.itertuples(index=False)]
    return f"{data['panel'].iloc[0]}: {''.join(crosses)}{_means_text(data, ('recall', 'precision'))}."


def draw_cost(frames: Frames) -> list[FigureResult]:
    """Draw one figure: likelihood and Fréchet distances of each source against the seconds of training."""
    name, title, data = "cost", "Cost against quality", cost_data(frames)
    if data.empty:
        return [NotDrawn(name, title, f"no trained cell has a time and a final metric ({frames.counts_text})")]
    grid = panels.Grid(columns=2, extra=0.6)
    figure, means = _draw_panels(grid, data, frames.cells, partial(_decorate_cost, every=data))
    texts = [_description(data), _conditions(frames), *means]
    return [panels.finish(name, title, figure, data, texts, _trained(frames.cells))]


def cost_data(frames: Frames) -> pd.DataFrame:
    """Return the plotted numbers, ``COLUMNS``: a panel per source and measure, seconds of training along x."""
    rows = _final_rows(frames).drop(columns=["step"])
    rows = _trained(rows.join(frames.cells[["steps", "seconds_per_step"]], on="cell"))
    rows = rows.assign(training_s=rows["steps"] * rows["seconds_per_step"].astype(float))
    parts = []
    for source, name in frames.source_titles.items():
        own = rows[rows["source"] == source]
        measures = {f"frechet_{e}": (f"Fréchet distance ({EXTRACTORS[e]})", style.frechet_label(e)) for e in EXTRACTORS}
        if measure := _likelihood(own, source):
            column, label = measure
            measures = {column: (label.split(" (")[0], label), **measures}
        for column, (measured, label) in measures.items():
            labels = ("training time (s)", label)
            parts.append(point_data(own, "training_s", column, panel=f"{name}, {measured}", labels=labels))
    return point_axes.with_scales(_join_panels(parts))


def _trained(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of cells that take steps; W* takes none."""
    return rows[(rows["role"] != "truth") & (rows["steps"] > 0)]


def _decorate_cost(ax: Axes, data: pd.DataFrame, every: pd.DataFrame) -> str:
    point_axes.use_scales(ax, data, every)
    return f"{data['panel'].iloc[0]}: {_means_text(data, ('seconds', 'value'))}."


def _description(data: pd.DataFrame) -> str:
    is_log = (data[["x_scale", "y_scale"]] == "log").any(axis=None)
    return f"{DESCRIPTION} {GEOMETRIC} A triangle at an edge is a value of 0." if is_log else DESCRIPTION


def _conditions(frames: Frames) -> str:
    ran = frames.cells[(frames.cells["role"] != "truth") & (frames.cells["device"] != "")]
    devices = ran[["device", "num_threads"]].drop_duplicates().sort_values(["device", "num_threads"])
    names = [
        f"{row.device} with {row.num_threads:.0f} thread{'s' * (row.num_threads != 1)}"
        for row in devices.itertuples(index=False)
    ]
    return (
        f"Time is of training steps alone, without measuring, on {listing(names)}. The cheaper and the better, the "
        "further down and to the left."
    )


def _final_rows(frames: Frames) -> pd.DataFrame:
    return frames.final[(frames.final["weights"] == "last") & (frames.final["role"] != "truth")]


def _likelihood(rows: pd.DataFrame, source: str) -> tuple[str, str] | None:
    """Return the column of ``final`` with the likelihood of a source, and its label; None without values."""
    own = rows[rows["source"] == source]
    measures = LIKELIHOODS if source in REAL else DIVERGENCES
    known = ((c, label) for c, label in measures.items() if np.isfinite(own[c].astype(float)).any())
    return next(known, None)


def point_data(rows: pd.DataFrame, x: str, y: str, *, panel: str, labels: tuple[str, str]) -> pd.DataFrame:
    """Return the numbers of one panel, ``COLUMNS``: kind ``cell`` per cell with both numbers, ``mean`` per group.

    ``rows`` has the columns ``frames.KEYS``, ``x``, ``y``, and ``floor`` if ``y`` has one; ``labels`` are of x and y.
    """
    both = rows[np.isfinite(rows[[x, y]].astype(float)).all(axis=1)]
    cells = both.assign(panel=panel, kind="cell", x=both[x].astype(float), y=both[y].astype(float), cell_id=both["id"])
    cells = cells.assign(x_label=labels[0], y_label=labels[1])
    if cells.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    means = summarise(cells, GROUP, "x").rename(columns={"mean": "x", "low": "x_low", "high": "x_high"})
    y_means = summarise(cells, GROUP, "y").rename(columns={"mean": "y", "low": "y_low", "high": "y_high"})
    means = means.drop(columns="note").merge(y_means[[*GROUP, "y", "y_low", "y_high"]], on=GROUP)
    return pd.concat([cells, means.assign(kind="mean")], ignore_index=True).reindex(columns=list(COLUMNS))


def _join_panels(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(COLUMNS))


def _draw_panels(
    grid: panels.Grid, data: pd.DataFrame, cells: pd.DataFrame, decorate: Decorate, more: Sequence[Line2D] = ()
) -> tuple[Figure, list[str]]:
    """Return the figure and the text of ``decorate`` for each panel; colours of all ``cells``, markers of paradigms."""
    markers = {name: style.paradigm_marker(name) for name in sorted(data["paradigm"].dropna().unique())}
    figure, axes = grid.draw(list(data["panel"].unique()))
    data = data.assign(arm=point_axes.arm_names(data))
    arms = point_axes.first_of_arms(data[data["arm"] != ""])
    palette = point_axes.arm_palette(arms, cells)
    texts = []
    for panel, ax in axes.items():
        part = data[data["panel"] == panel]
        texts.append(decorate(ax, part))
        _draw_points(ax, part, markers, palette)
    handles = [style.marker_key(textwrap.fill(arm, KEY_CHARACTERS), palette[arm]) for arm in arms["arm"]]
    handles += [style.marker_key(name, DARK_GREY, mark, size=5, face="none") for name, mark in markers.items()]
    style.legend_below(figure, [*handles, *more])
    return figure, texts


def _draw_points(ax: Axes, data: pd.DataFrame, markers: dict[str, str], palette: dict[str, str]) -> None:
    cells, means = data[data["kind"] == "cell"], data[data["kind"] == "mean"]
    marks = {name: markers[name] for name in cells["paradigm"].unique()}
    sns.scatterplot(
        data=cells, x="x", y="y", hue="arm", palette=palette, style="paradigm", markers=marks, ax=ax, legend=False,
        s=12, alpha=0.35, linewidth=0, zorder=2,
    )  # fmt: skip
    for row in means.itertuples(index=False):
        ax.errorbar(row.x, row.y, xerr=_arms(row.x, row.x_low, row.x_high), yerr=_arms(row.y, row.y_low, row.y_high),
                    fmt=markers[row.paradigm], color=palette[row.arm], markersize=4.5, markeredgewidth=0.5,
                    markeredgecolor="white", elinewidth=0.8, zorder=3)  # fmt: skip
    ax.set_xlabel(data["x_label"].iloc[0])
    ax.set_ylabel(data["y_label"].iloc[0])


def _arms(mean: float, low: float, high: float) -> list[list[float]] | None:
    return None if np.isnan(low) else [[mean - low], [high - mean]]


def _average(row: Any, axis: str) -> str:
    value, low, high = (getattr(row, name) for name in (axis, f"{axis}_low", f"{axis}_high"))
    if getattr(row, f"{axis}_scale") == "log":
        return between(value, low, high, row.num_seeds)
    return estimate(value, high, row.num_seeds)


def _means_text(data: pd.DataFrame, names: tuple[str, str]) -> str:
    """Return both means of every group of a panel with the cells behind them; ``names`` are those of x and y."""
    cells = data[data["kind"] == "cell"]
    texts = []
    for row in data[data["kind"] == "mean"].itertuples(index=False):
        behind = cells.loc[cells["group"] == row.group, "cell_id"]
        x, y = (_average(row, axis) for axis in ("x", "y"))
        texts.append(cite(f"{row.group}: {names[0]} {x}, {names[1]} {y}", behind))
    return listing(texts, MAX_MEANS)
