"""Likelihood over training by degree, one figure each per setting: NLL, overfit index and normalised convergence."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nllgen_analysis.claims.curves import curve_distance, normalised
from nllgen_analysis.figures import curves, panels, scales, style
from nllgen_analysis.figures.style import FigureResult, degree_colour, paradigm_colour
from nllgen_analysis.frames import Frames
from nllgen_analysis.text import MINUS, cite, number

NAME, TITLE = "nll_curves", "NLL over training"
BELOW = ", below the start"
SPLITS = {"train_nll_nats": "training images", "val_nll_nats": "validation images"}
GRID = panels.Grid(columns=2, x_label="optimiser steps", y_label="NLL (nats per image)")
OVERFIT_NAME, OVERFIT_TITLE = "overfit", "Overfit index over training"
_STEPS = "optimiser steps"
OVERFIT_GRID = panels.Grid(share_x=True, share_y=True, x_label=_STEPS, y_label="overfit index (nats per image)")
CONVERGENCE_NAME, CONVERGENCE_TITLE = "convergence", "Normalised convergence by degree"
CONVERGENCE_GRID = panels.Grid(x_label="optimiser steps", y_label="training NLL still to be gained\n(share, unitless)")


def draw_nll(frames: Frames) -> list[FigureResult]:
    """Draw training and validation NLL over steps by degree, a row per paradigm, and by paradigm where there is one."""
    rows = curves.measured(curves.raw_from_random(frames), list(SPLITS))
    return _draw_both(frames, rows, NAME, TITLE, _draw_setting, "no evaluation has a finite NLL")


def _draw_both(
    frames: Frames, rows: pd.DataFrame, name: str, title: str, draw: Callable[..., panels.Parts], lack: str
) -> list[FigureResult]:
    """Draw rows by degree where a paradigm has several in a setting, and the others by paradigm."""
    several, others = curves.split_by_degree(rows)
    results: list[FigureResult] = []
    if len(several) or others.empty:
        results += panels.draw_settings(frames, several, name, f"{title} by degree", draw, lack)
    if len(others):
        draw = partial(draw, is_by_degree=False)
        results += panels.draw_settings(frames, others, f"{name}_paradigms", f"{title} by paradigm", draw, lack)
    return results


def nll_data(rows: pd.DataFrame, entropy: float | None = None, is_by_degree: bool = True) -> pd.DataFrame:
    """Return the plotted numbers of one setting; ``panel`` is ``paradigm, split``, or the split alone by paradigm.

    Where values span decades, a further panel shows those below the start on a linear axis: what an explosion hides.
    """
    rows = curves.by_degree(rows) if is_by_degree else curves.by_paradigm(rows)
    hue = "student" if is_by_degree else "paradigm"
    parts = []
    for paradigm, part in rows.groupby("paradigm") if is_by_degree else [(_only(rows), rows)]:
        for value, split in SPLITS.items():
            panel = f"{paradigm}, {split}".removeprefix(", ")
            scale = _scale(part, value, entropy)
            parts.append(curves.curve_data(part, value, panel=panel, hue=hue, scale=scale).assign(paradigm=paradigm))
            if scale != "linear" and _num_below(parts[-1]) > 1:
                near = curves.curve_data(part, value, panel=f"{panel}{BELOW}", hue=hue)
                parts.append(near.assign(paradigm=paradigm))
    return curves.in_order(pd.concat(parts, ignore_index=True), rows["series"])


def _only(rows: pd.DataFrame) -> str:
    """Return the paradigm of all rows, empty if there are several."""
    return str(rows["paradigm"].iloc[0]) if rows["paradigm"].nunique() == 1 else ""


def _scale(rows: pd.DataFrame, value: str, entropy: float | None) -> scales.Scale:
    kept = scales.without_startup(rows.assign(panel="", x=rows["step"], value=rows[value].astype(float)))
    return scales.scale_of([*kept, *([] if entropy is None else [entropy])])


def _start(data: pd.DataFrame) -> float:
    """Return the median of the cells' first values."""
    seeds = data[(data["kind"] == "seed") & np.isfinite(data["value"])]
    return float(seeds.sort_values("x", kind="stable").drop_duplicates("cell_id")["value"].median())


def _num_below(data: pd.DataFrame) -> int:
    """Return how many series end below the start."""
    ends = data[(data["kind"] == "mean") & (data["x"] > data["x"].min())].groupby("series").tail(1)
    return int((ends["value"] < _start(data)).sum())


def _draw_panels(
    grid: panels.Grid, names: Sequence[str], data: pd.DataFrame, colour: curves.Colour = degree_colour
) -> tuple[Figure, dict[str, Axes]]:
    looks = curves.looks(data, colour)
    figure, axes = grid.draw(names)
    for panel, ax in axes.items():
        curves.draw_curves(ax, data[data["panel"] == panel], looks)
        scales.minor_ticks(ax, "x")
        ax.set_title(style.literal(panel.replace(BELOW, f",\n{BELOW[2:]}")))
    style.legend_below(figure, curves.legend_handles(data, looks))
    return figure, axes


def _draw_setting(frames: Frames, rows: pd.DataFrame, is_by_degree: bool = True) -> panels.Parts:
    entropy, setting = _entropy(frames, rows), rows["setting"].iloc[0]
    data = nll_data(rows, entropy, is_by_degree)
    drawn = set(data["panel"])
    names: list[str] = []
    zoomed = {split for split in SPLITS.values() for panel in drawn if panel.endswith(f"{split}{BELOW}")}
    for paradigm in data["paradigm"].unique():
        pair = [f"{paradigm}, {split}".removeprefix(", ") for split in SPLITS.values()]
        near = [f"{name}{BELOW}" if f"{name}{BELOW}" in drawn else "" for name in pair]
        if len(zoomed) == 1:  # so that all panels of a paradigm are in one row
            near = [name for name, split in zip(near, SPLITS.values(), strict=True) if split in zoomed]
        names += [*pair, *(near if zoomed else [])]
    grid = replace(GRID, columns=3) if len(zoomed) == 1 else GRID
    figure, axes = _draw_panels(grid, names, _without_bands(data), degree_colour if is_by_degree else paradigm_colour)
    texts = [f"NLL of the weights in training (not their EMA) on {setting}.", curves.description(data)]
    texts += _limit(axes, data, entropy)
    for ax in axes.values():
        scales.minor_ticks(ax, "y")
        if entropy is not None:
            style.reference_line(ax, entropy)
    for paradigm, part in data.groupby("paradigm", sort=False):
        ends = curves.ends_text(part[part["panel"] == f"{paradigm}, validation images".removeprefix(", ")])
        by = f", trained by {paradigm}" if paradigm else ""
        texts.append(f"Validation NLL in nats at the last evaluation{by}: {ends or 'none finite'}.")
    if entropy is not None:
        texts.append(f"Grey line: the truth's entropy, {entropy:,.1f} nats.".replace("-", MINUS))
    texts.append(curves.diverged_text(data))
    planned = curves.planned_cells(frames, setting)
    return figure, data, dict.fromkeys(texts), planned[planned["paradigm"].isin(rows["paradigm"])]


def _without_bands(data: pd.DataFrame) -> pd.DataFrame:
    """Leave out the intervals of means that are beyond a panel below the start, which they would fill."""
    shown = data.copy()
    for panel, part in data[data["panel"].str.endswith(BELOW)].groupby("panel"):
        is_above = (data["panel"] == panel) & (data["kind"] == "mean") & (data["value"] > 1.05 * _start(part))
        shown.loc[is_above, ["low", "high"]] = np.nan
    return shown


def _limit(axes: dict[str, Axes], data: pd.DataFrame, entropy: float | None) -> list[str]:
    """Limit the vertical axes and return what the caption says of them.

    Both panels of a paradigm share a linear axis. A start-up transient is left out; a late explosion is a result.
    """
    texts = []
    level = [] if entropy is None else [entropy]
    for _, row in data.groupby("paradigm", sort=False):
        is_near = row["panel"].str.endswith(BELOW)
        is_linear = (row["scale"] == "linear").all()
        for panel, part in row.groupby("panel", sort=False):
            seeds = part[part["kind"] == "seed"]
            kept = scales.without_startup(row[(row["kind"] == "seed") & ~is_near] if is_linear else seeds)
            scale = part["scale"].iloc[0]
            if panel.endswith(BELOW):
                start = _start(part)
                scales.pad_limits(axes[panel], [*kept[kept <= start], *level, start], 0.05)
                texts.append("Below the start: the same on a linear axis that ends at the NLL of the untrained models.")
            elif scale == "linear":
                scales.pad_limits(axes[panel], [*kept, *level], 0.05)
                if len(kept) < np.isfinite(row.loc[(row["kind"] == "seed") & ~is_near, "value"]).sum() and is_linear:
                    texts.append("The vertical axis leaves out start-up values far from the rest of their series.")
            else:
                scales.use_scale(axes[panel], "y", scale, [*(seeds["value"] if scale == "log" else kept), *level])
    return texts


def _entropy(frames: Frames, rows: pd.DataFrame) -> float | None:
    """Return H(p) in nats of the truth behind these rows, None for real data."""
    truths = set(frames.cells.loc[frames.cells["id"].isin(rows["id"].unique()), "truth_id"])
    if len(truths) != 1 or frames.datasets.empty or "entropy_nats" not in frames.datasets:
        return None
    entropies = frames.datasets.loc[frames.datasets["truth_id"].isin(truths), "entropy_nats"]
    return float(entropies.iloc[0]) if len(entropies) and np.isfinite(float(entropies.iloc[0])) else None


def draw_overfit(frames: Frames) -> list[FigureResult]:
    """Draw the overfit index, the excess of a model's density over the truth's on training images: a panel a paradigm.

    Real data have none.
    """
    rows = curves.measured(curves.raw_from_random(frames), ["overfit_nats"])
    lack = "no evaluation has an overfit index: that needs synthetic data"
    return _draw_both(frames, rows, OVERFIT_NAME, OVERFIT_TITLE, _draw_overfit, lack)


def overfit_data(rows: pd.DataFrame, is_by_degree: bool = True) -> pd.DataFrame:
    """Return the plotted numbers of one setting, ``curves.COLUMNS``: a panel per paradigm, degrees in their order."""
    rows = curves.by_degree(rows) if is_by_degree else curves.by_paradigm(rows)
    hue = "student" if is_by_degree else "paradigm"
    parts = [
        curves.curve_data(part, "overfit_nats", panel=str(paradigm), hue=hue)
        for paradigm, part in (rows.groupby("paradigm") if is_by_degree else [(_only(rows) or "all", rows)])
    ]
    return curves.in_order(pd.concat(parts, ignore_index=True), rows["series"])


def _draw_overfit(frames: Frames, rows: pd.DataFrame, is_by_degree: bool = True) -> panels.Parts:
    data, setting = overfit_data(rows, is_by_degree), rows["setting"].iloc[0]
    colour = degree_colour if is_by_degree else paradigm_colour
    low, high = _overfit_range(data)
    is_left = (data["kind"] == "mean") & (data["value"] < low)
    within = data.assign(**{name: data[name].where(~is_left) for name in ("low", "high")})  # no band without its mean
    figure, axes = _draw_panels(OVERFIT_GRID, sorted(data["panel"].unique()), within, colour)
    figure.axes[0].set_ylim(low, high)
    colours, _ = curves.looks(data, colour)
    ends = data[data["kind"] == "mean"].groupby(["panel", "series"], sort=False).tail(1)
    left = ends[ends["value"] < low]
    for panel, ax in axes.items():
        style.reference_line(ax, 0)
        for row in left[left["panel"] == panel].itertuples(index=False):
            scales.mark_below(ax, "y", [row.x], colours[row.series])
    texts = [
        f"Mean over training images of log q − log p, trained on {setting}; above 0 the model gives them a "
        "higher density than the truth that they were drawn from.",
        curves.description(data),
        "A triangle at the lower edge: the mean ends below the axis, worse than an untrained model."
        if len(left)
        else "",
        *(
            f"In nats at the last evaluation, trained by {paradigm}: {curves.ends_text(part) or 'none finite'}."
            for paradigm, part in data.groupby("panel")
        ),
        "The vertical axis, one for all panels, may leave out start-up values far from the rest; the CSV has all.",
        curves.diverged_text(data),
    ]
    planned = curves.planned_cells(frames, setting)
    return figure, data, texts, planned[planned["paradigm"].isin(rows["paradigm"])]


def _overfit_range(data: pd.DataFrame) -> tuple[float, float]:
    """Return the limits of the linear axis that all panels share; below its value at the start an index leaves it."""
    seeds = data[(data["kind"] == "seed") & np.isfinite(data["value"])]
    kept = [*scales.without_startup(seeds), 0.0]
    if scales.scale_of(kept) != "linear":
        kept = [value for value in kept if value >= min(_start(seeds), 0.0)]
    return scales.padded(kept, 0.06)


def draw_convergence(frames: Frames) -> list[FigureResult]:
    """Draw one figure per setting: the share of its improvement that training by NLL has still to make, over steps."""
    rows = frames.eval[(frames.eval["weights"] == "raw") & (frames.eval["paradigm"] == "nll")]
    rows = rows[(rows["start"] == "random") & (rows["outcome"] == "done") & (rows["role"] != "truth")]
    several, _ = curves.split_by_degree(rows)
    lack = "no finished cell trained by nll from a random start has a training NLL that falls"
    if several.empty and len(rows):
        lack = "no setting has several degrees to compare among finished cells trained by nll from a random start"
    rows = convergence_rows(several)
    return panels.draw_settings(frames, rows, CONVERGENCE_NAME, CONVERGENCE_TITLE, _draw_convergence, lack)


def convergence_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Add ``remaining`` = (L − L_end)/(L_0 − L_end) to the rows of cells whose training NLL L ends below its start."""
    rows = rows.sort_values("step", kind="stable")
    known = panels.finite(rows, "train_nll_nats")
    parts = [
        part.assign(remaining=normalised(curve).to_numpy())
        for _, part in known.groupby("cell", sort=False)
        if len(normalised(curve := part.set_index("step")["train_nll_nats"].astype(float)))
    ]
    return pd.concat(parts) if parts else known.iloc[:0].assign(remaining=pd.Series(dtype=float))


def convergence_data(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the plotted numbers of one setting, ``curves.COLUMNS``, from rows of :func:`convergence_rows`."""
    rows = curves.by_degree(rows)
    data = curves.curve_data(rows, "remaining", panel="convergence", hue="student")
    return curves.in_order(data, rows["series"])


def _draw_convergence(frames: Frames, rows: pd.DataFrame) -> panels.Parts:
    data, setting = convergence_data(rows), rows["setting"].iloc[0]
    figure, axes = _draw_panels(CONVERGENCE_GRID, ["convergence"], data)
    axes["convergence"].set_title(setting)
    style.reference_line(axes["convergence"], 0)
    texts = [
        f"(L − L_end)/(L_0 − L_end) of the training NLL L, by degree, trained by nll from a random start on {setting}.",
        curves.description(data),
        _largest_distance(data),
    ]
    cells = curves.planned_cells(frames, setting)
    is_trained = (cells["paradigm"] == "nll") & (cells["start"] == "random") & (cells["steps"] > 0)
    return figure, data, texts, cells[is_trained & (cells["role"] != "truth")]


def _largest_distance(data: pd.DataFrame) -> str:
    """Return the largest distance between two mean curves, measured as C4 does between seeds."""
    means = {name: part.set_index("x")["value"] for name, part in data[data["kind"] == "mean"].groupby("series")}
    distances = [(curve_distance(means[a], means[b], 2), a, b) for a, b in itertools.combinations(means, 2)]
    known = [item for item in distances if np.isfinite(item[0])]
    if not known:
        return ""
    distance, first, second = max(known)
    cells = data.loc[data["series"].isin([first, second]) & (data["kind"] == "seed"), "cell_id"]
    return f"The means of {first} and {second} are furthest apart, by {cite(number(distance), cells)}."
