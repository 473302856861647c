"""Training and validation NLL by degree, one figure a setting."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from nllgen_analysis.figures.curves import (
    by_degree,
    curve_data,
    describe_means,
    diverged_text,
    draw_curves,
    ends_text,
    in_order,
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
    Notes,
    degree_colour,
    legend_below,
    limited,
    minor_ticks,
    new_figure,
    set_scale,
    without_startup,
)
from nllgen_analysis.frames import Frames, setting_order
from nllgen_analysis.text import MINUS

TITLE = "NLL over training by degree"
SPLITS = {"train_nll_nats": "training images", "val_nll_nats": "validation images"}


def draw_nll(frames: Frames) -> list[FigureResult]:
    """Training and validation NLL over steps: a row a paradigm, colours by degree, the truth's entropy as a line."""
    rows = frames.eval[frames.eval["weights"] == "raw"]
    rows = rows[~rows["student"].str.endswith(" from truth")]
    rows = measured(rows, list(SPLITS))
    if rows.empty:
        return [NotDrawn("nll_curves", TITLE, f"no evaluation has a finite NLL ({frames.counts_text})")]
    settings, rest = limited(setting_order(rows), "nll_curves", TITLE)
    return [*(_draw_setting(frames, rows[rows["setting"] == setting]) for setting in settings), *rest]


def nll_data(rows: pd.DataFrame) -> pd.DataFrame:
    """The plotted numbers of one setting; ``panel`` is ``paradigm, split``."""
    rows = by_degree(rows)
    parts = [
        curve_data(part, value, panel=f"{paradigm}, {split}", hue="student").assign(paradigm=paradigm)
        for paradigm, part in rows.groupby("paradigm")
        for value, split in SPLITS.items()
    ]
    return in_order(pd.concat(parts, ignore_index=True), rows["series"])


def planned_cells(frames: Frames, setting: str, paradigm: str = "") -> pd.DataFrame:
    """The cells of a setting that start at random (W* where it starts), of one paradigm or of all."""
    cells = frames.cells[(frames.cells["setting"] == setting) & ~frames.cells["student"].str.endswith(" from truth")]
    return cells[cells["paradigm"] == paradigm] if paradigm else cells


def _draw_setting(frames: Frames, rows: pd.DataFrame) -> Drawn:
    data, notes = nll_data(rows), Notes()
    paradigms = list(data["paradigm"].unique())
    styles = series_styles(data)
    entropy = _entropy(frames, rows)
    figure = new_figure(len(paradigms), 2)
    axes = figure.subplots(len(paradigms), 2, sharex="row", sharey="row", squeeze=False)
    for line, paradigm in zip(axes, paradigms, strict=True):
        for ax, split in zip(line, SPLITS.values(), strict=True):
            part = data[data["panel"] == f"{paradigm}, {split}"]
            draw_curves(ax, part, degree_colour, styles)
            _decorate(ax, f"{paradigm}, {split}", entropy)
        line[0].set_ylabel("NLL (nats per image)")
        _limit(line[0], data[data["paradigm"] == paradigm], entropy, notes)
        ends = ends_text(data[data["panel"] == f"{paradigm}, validation images"])
        notes.add(f"Validation NLL in nats at the last evaluation, trained by {paradigm}: {ends or 'none finite'}.")
    for ax in axes[-1]:
        ax.set_xlabel("optimiser steps")
    legend_below(figure, legend_handles(data, degree_colour, styles))
    if entropy is not None:
        notes.add(f"Grey line: the truth's entropy, {entropy:,.1f} nats.".replace("-", MINUS))
    notes.add(diverged_text(data))
    setting, slug = rows["setting"].iloc[0], rows["slug"].iloc[0]
    data, absent = with_absent(data, planned_cells(frames, setting))
    notes.add(absent)
    caption = f"NLL of the weights in training (not their EMA) on {setting}. {describe_means()} {notes}"
    return Drawn(f"nll_curves_{slug}", f"{TITLE}: {setting}", figure, data, caption)


def _decorate(ax: Axes, title: str, entropy: float | None) -> None:
    ax.set_title(title)
    minor_ticks(ax, "x")
    minor_ticks(ax, "y")
    if entropy is not None:
        ax.axhline(entropy, color=GREY, linewidth=0.9, linestyle=(0, (5, 2)), zorder=0)


def _limit(ax: Axes, data: pd.DataFrame, entropy: float | None, notes: Notes) -> None:
    """A late explosion is a result and gets a symlog axis; a start-up transient is cut, and the caption says so."""
    kept = without_startup(data)
    drawn = kept if entropy is None else pd.concat([kept, pd.Series([entropy])])
    scale = set_scale(ax, "y", drawn)
    if scale == "linear" and len(kept) < np.isfinite(data["value"]).sum():
        margin = 0.05 * (float(np.ptp(drawn)) or 1.0)
        ax.set_ylim(drawn.min() - margin, drawn.max() + margin)
        notes.add("The vertical axis leaves out start-up values far from the rest of their series; the CSV has all.")
    if scale == "symlog":
        # an interval's lower limit may be decades below every value
        ax.set_ylim(drawn.min() - 0.5 * abs(drawn.min()), drawn.max() + 0.5 * abs(drawn.max()))
        notes.add("Where values span decades the vertical axis is logarithmic, linear around 0.")


def _entropy(frames: Frames, rows: pd.DataFrame) -> float | None:
    """H(p) of the truth behind these rows, None for real data."""
    truths = set(frames.cells.loc[frames.cells["id"].isin(rows["id"].unique()), "truth_id"])
    if len(truths) != 1 or frames.datasets.empty or "entropy_nats" not in frames.datasets:
        return None
    found = frames.datasets.loc[frames.datasets["truth_id"].isin(truths), "entropy_nats"]
    return float(found.iloc[0]) if len(found) and np.isfinite(float(found.iloc[0])) else None
