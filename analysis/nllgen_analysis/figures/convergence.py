"""Normalised convergence by degree: whether models of all sizes learn alike."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from nllgen_analysis.captions import cite
from nllgen_analysis.claims.degrees import curve_distance, normalised
from nllgen_analysis.figures.curves import (
    by_degree,
    curve_data,
    describe_means,
    draw_curves,
    in_order,
    legend_handles,
    series_styles,
)
from nllgen_analysis.figures.missing import with_absent
from nllgen_analysis.figures.nll import planned_cells
from nllgen_analysis.figures.style import (
    GREY,
    Drawn,
    FigureResult,
    NotDrawn,
    degree_colour,
    legend_below,
    limited,
    minor_ticks,
    new_figure,
)
from nllgen_analysis.frames import Frames, setting_order
from nllgen_analysis.text import number

TITLE = "Normalised convergence by degree"


def draw_convergence(frames: Frames) -> list[FigureResult]:
    """One figure a setting: the share of its improvement that training NLL has still to make, over steps."""
    rows = frames.eval[(frames.eval["weights"] == "raw") & (frames.eval["paradigm"] == "nll")]
    rows = rows[(rows["start"] == "random") & (rows["outcome"] == "done") & (rows["role"] != "truth")]
    rows = convergence_rows(rows)
    if rows.empty:
        reason = (
            f"no finished cell trained by nll from a random start has a training NLL that falls ({frames.counts_text})"
        )
        return [NotDrawn("convergence", TITLE, reason)]
    settings, rest = limited(setting_order(rows), "convergence", TITLE)
    return [*(_draw_setting(frames, rows[rows["setting"] == setting]) for setting in settings), *rest]


def convergence_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of cells whose training NLL L ends below its start, with ``remaining`` = (L − L_end)/(L_0 − L_end)."""
    rows = rows.sort_values("step", kind="stable")
    known = rows[np.isfinite(rows["train_nll_nats"].astype(float))]
    parts = [
        part.assign(remaining=normalised(curve).to_numpy())
        for _, part in known.groupby("cell", sort=False)
        if len(normalised(curve := part.set_index("step")["train_nll_nats"].astype(float)))
    ]
    return pd.concat(parts) if parts else known.iloc[:0].assign(remaining=pd.Series(dtype=float))


def convergence_data(rows: pd.DataFrame) -> pd.DataFrame:
    """The plotted numbers of one setting, ``curves.COLUMNS``; ``rows`` are those of :func:`convergence_rows`."""
    rows = by_degree(rows)
    return in_order(curve_data(rows, "remaining", panel="convergence", hue="student"), rows["series"])


def _draw_setting(frames: Frames, rows: pd.DataFrame) -> Drawn:
    data = convergence_data(rows)
    styles = series_styles(data)
    figure = new_figure(1, 1)
    ax = figure.subplots()
    draw_curves(ax, data, degree_colour, styles)
    ax.axhline(0, color=GREY, linewidth=0.9, linestyle=(0, (5, 2)), zorder=0)
    ax.set_xlabel("optimiser steps")
    ax.set_ylabel("training NLL still to be gained\n(share, unitless)")
    setting = rows["setting"].iloc[0]
    ax.set_title(setting)
    minor_ticks(ax, "x")
    legend_below(figure, legend_handles(data, degree_colour, styles))
    caption = (
        f"(L − L_end)/(L_0 − L_end) of the training NLL L, by degree, trained by nll from a random start on {setting}. "
        f"{describe_means()} {_distances(data)}"
    )
    data, absent = with_absent(data, _planned(frames, setting))
    name = f"convergence_{rows['slug'].iloc[0]}"
    return Drawn(name, f"{TITLE}: {setting}", figure, data, f"{caption} {absent}".strip())


def _planned(frames: Frames, setting: str) -> pd.DataFrame:
    cells = planned_cells(frames, setting, "nll")
    return cells[(cells["start"] == "random") & (cells["role"] != "truth") & (cells["steps"] > 0)]


def _distances(data: pd.DataFrame) -> str:
    """The largest distance between two means, as C4 measures it between seeds."""
    means = {name: part.set_index("x")["value"] for name, part in data[data["kind"] == "mean"].groupby("series")}
    found = [(curve_distance(means[a], means[b], 2), a, b) for a, b in itertools.combinations(means, 2)]
    known = [item for item in found if np.isfinite(item[0])]
    if not known:
        return ""
    distance, first, second = max(known)
    behind = data.loc[data["series"].isin([first, second]) & (data["kind"] == "seed"), "cell_id"]
    return f"The means of {first} and {second} are furthest apart, by {cite(number(distance), behind)}."
