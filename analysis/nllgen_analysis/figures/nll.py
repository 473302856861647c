"""Likelihood over training by degree, one figure each per setting: NLL, overfit index and normalised convergence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nllgen_analysis.claims.curves import curve_distance, normalised
from nllgen_analysis.figures import curves, panels, scales, style
from nllgen_analysis.figures.style import FigureResult, degree_colour
from nllgen_analysis.frames import Frames
from nllgen_analysis.text import MINUS, cite, number

NAME, TITLE = "nll_curves", "NLL over training by degree"
SPLITS = {"train_nll_nats": "training images", "val_nll_nats": "validation images"}
GRID = panels.Grid(columns=2, share_x="row", share_y="row", x_label="optimiser steps", y_label="NLL (nats per image)")
OVERFIT_NAME, OVERFIT_TITLE = "overfit", "Overfit index over training by degree"
OVERFIT_GRID = panels.Grid(share_x=True, x_label="optimiser steps", y_label="overfit index (nats per image)")
CONVERGENCE_NAME, CONVERGENCE_TITLE = "convergence", "Normalised convergence by degree"
CONVERGENCE_GRID = panels.Grid(x_label="optimiser steps", y_label="training NLL still to be gained\n(share, unitless)")


def draw_nll(frames: Frames) -> list[FigureResult]:
    """Draw training and validation NLL over steps: a row per paradigm, a colour per degree, the entropy as a line."""
    rows = curves.measured(curves.raw_from_random(frames), list(SPLITS))
    return panels.draw_settings(frames, rows, NAME, TITLE, _draw_setting, "no evaluation has a finite NLL")


def nll_data(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the plotted numbers of one setting; ``panel`` is ``paradigm, split``."""
    rows = curves.by_degree(rows)
    parts = [
        curves.curve_data(part, value, panel=f"{paradigm}, {split}", hue="student").assign(paradigm=paradigm)
        for paradigm, part in rows.groupby("paradigm")
        for value, split in SPLITS.items()
    ]
    return curves.in_order(pd.concat(parts, ignore_index=True), rows["series"])


def _draw_panels(grid: panels.Grid, names: Sequence[str], data: pd.DataFrame) -> tuple[Figure, dict[str, Axes]]:
    styles = curves.series_styles(data)
    figure, axes = grid.draw(names)
    for panel, ax in axes.items():
        curves.draw_curves(ax, data[data["panel"] == panel], degree_colour, styles)
        scales.minor_ticks(ax, "x")
    style.legend_below(figure, curves.legend_handles(data, degree_colour, styles))
    return figure, axes


def _draw_setting(frames: Frames, rows: pd.DataFrame) -> panels.Parts:
    data, setting = nll_data(rows), rows["setting"].iloc[0]
    entropy = _entropy(frames, rows)
    texts = [f"NLL of the weights in training (not their EMA) on {setting}.", curves.DESCRIPTION]
    names = [f"{paradigm}, {split}" for paradigm in data["paradigm"].unique() for split in SPLITS.values()]
    figure, axes = _draw_panels(GRID, names, data)
    for ax in axes.values():
        scales.minor_ticks(ax, "y")
        if entropy is not None:
            style.reference_line(ax, entropy)
    for paradigm, part in data.groupby("paradigm", sort=False):
        texts.append(_limit(axes[f"{paradigm}, training images"], part, entropy))
        ends = curves.ends_text(part[part["panel"] == f"{paradigm}, validation images"])
        texts.append(f"Validation NLL in nats at the last evaluation, trained by {paradigm}: {ends or 'none finite'}.")
    if entropy is not None:
        texts.append(f"Grey line: the truth's entropy, {entropy:,.1f} nats.".replace("-", MINUS))
    texts.append(curves.diverged_text(data))
    return figure, data, dict.fromkeys(texts), curves.planned_cells(frames, setting)


def _limit(ax: Axes, data: pd.DataFrame, entropy: float | None) -> str:
    """Scale the vertical axis of a paradigm and return what the caption says of it.

    A late explosion is a result and gets a symlog axis. A start-up transient is left out.
    """
    kept = scales.without_startup(data)
    drawn = kept if entropy is None else pd.concat([kept, pd.Series([entropy])])
    scale = scales.set_scale(ax, "y", drawn)
    if scale == "linear" and len(kept) < np.isfinite(data["value"]).sum():
        scales.pad_limits(ax, drawn, 0.05)
        return "The vertical axis leaves out start-up values far from the rest of their series; the CSV has all."
    if scale == "symlog":
        # the lower limit of an interval may be decades below every value
        ax.set_ylim(drawn.min() - 0.5 * abs(drawn.min()), drawn.max() + 0.5 * abs(drawn.max()))
        return "Where values span decades the vertical axis is logarithmic, linear around 0."
    return ""


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
    return panels.draw_settings(frames, rows, OVERFIT_NAME, OVERFIT_TITLE, _draw_overfit, lack)


def overfit_data(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the plotted numbers of one setting, ``curves.COLUMNS``: a panel per paradigm, degrees in their order."""
    rows = curves.by_degree(rows)
    parts = [
        curves.curve_data(part, "overfit_nats", panel=str(paradigm), hue="student")
        for paradigm, part in rows.groupby("paradigm")
    ]
    return curves.in_order(pd.concat(parts, ignore_index=True), rows["series"])


def _draw_overfit(frames: Frames, rows: pd.DataFrame) -> panels.Parts:
    data, setting = overfit_data(rows), rows["setting"].iloc[0]
    figure, axes = _draw_panels(OVERFIT_GRID, sorted(data["panel"].unique()), data)
    for panel, ax in axes.items():
        style.reference_line(ax, 0)
        shown = pd.concat([scales.without_startup(data[data["panel"] == panel]), pd.Series([0.0])])
        if scales.set_scale(ax, "y", shown) == "linear":
            scales.pad_limits(ax, shown, 0.06)
    texts = [
        f"Mean over training images of log q − log p, by degree, trained on {setting}; above 0 the model gives them a "
        "higher density than the truth that they were drawn from.",
        curves.DESCRIPTION,
        *(
            f"In nats at the last evaluation, trained by {paradigm}: {curves.ends_text(part) or 'none finite'}."
            for paradigm, part in data.groupby("panel")
        ),
        "The vertical axis may leave out start-up values far from the rest of their series; the CSV has all.",
        curves.diverged_text(data),
    ]
    return figure, data, texts, curves.planned_cells(frames, setting)


def draw_convergence(frames: Frames) -> list[FigureResult]:
    """Draw one figure per setting: the share of its improvement that training by NLL has still to make, over steps."""
    rows = frames.eval[(frames.eval["weights"] == "raw") & (frames.eval["paradigm"] == "nll")]
    rows = convergence_rows(rows[(rows["start"] == "random") & (rows["outcome"] == "done") & (rows["role"] != "truth")])
    lack = "no finished cell trained by nll from a random start has a training NLL that falls"
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
    styles = curves.series_styles(data)
    figure, axes = CONVERGENCE_GRID.draw([setting])
    curves.draw_curves(axes[setting], data, style.degree_colour, styles)
    style.reference_line(axes[setting], 0)
    scales.minor_ticks(axes[setting], "x")
    style.legend_below(figure, curves.legend_handles(data, style.degree_colour, styles))
    texts = [
        f"(L − L_end)/(L_0 − L_end) of the training NLL L, by degree, trained by nll from a random start on {setting}.",
        curves.DESCRIPTION,
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
