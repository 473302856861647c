"""The overfit index over training: how far a model's density is above the truth's on the images it was trained on."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

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
from nllgen_analysis.figures.nll import planned_cells
from nllgen_analysis.figures.style import (
    GREY,
    Drawn,
    FigureResult,
    LineStyle,
    NotDrawn,
    degree_colour,
    legend_below,
    limited,
    minor_ticks,
    new_figure,
    set_scale,
    without_startup,
)
from nllgen_analysis.frames import Frames, setting_order

TITLE = "Overfit index over training by degree"


def draw_overfit(frames: Frames) -> list[FigureResult]:
    """One figure a setting of synthetic data, a panel a paradigm, colours by degree; 0 is the truth's own density."""
    rows = frames.eval[(frames.eval["weights"] == "raw") & ~frames.eval["student"].str.endswith(" from truth")]
    rows = measured(rows, ["overfit_nats"])
    if rows.empty:
        reason = f"no evaluation has an overfit index: that needs synthetic data ({frames.counts_text})"
        return [NotDrawn("overfit", TITLE, reason)]
    settings, rest = limited(setting_order(rows), "overfit", TITLE)
    return [*(_draw_setting(frames, rows[rows["setting"] == setting]) for setting in settings), *rest]


def overfit_data(rows: pd.DataFrame) -> pd.DataFrame:
    """The plotted numbers of one setting, ``curves.COLUMNS``: a panel a paradigm, degrees in their order."""
    rows = by_degree(rows)
    parts = [
        curve_data(part, "overfit_nats", panel=str(paradigm), hue="student")
        for paradigm, part in rows.groupby("paradigm")
    ]
    return in_order(pd.concat(parts, ignore_index=True), rows["series"])


def _draw_setting(frames: Frames, rows: pd.DataFrame) -> Drawn:
    data = overfit_data(rows)
    styles = series_styles(data)
    figure = _draw_panels(data, styles)
    legend_below(figure, legend_handles(data, degree_colour, styles))
    setting = rows["setting"].iloc[0]
    texts = [
        f"Mean over training images of log q − log p, by degree, trained on {setting}; above 0 the model gives them a "
        "higher density than the truth that they were drawn from.",
        describe_means(),
        *(
            f"In nats at the last evaluation, trained by {paradigm}: {ends_text(part) or 'none finite'}."
            for paradigm, part in data.groupby("panel")
        ),
        "The vertical axis may leave out start-up values far from the rest of their series; the CSV has all.",
        diverged_text(data),
    ]
    data, absent = with_absent(data, planned_cells(frames, setting))
    caption = " ".join(text for text in [*texts, absent] if text)
    return Drawn(f"overfit_{rows['slug'].iloc[0]}", f"{TITLE}: {setting}", figure, data, caption)


def _draw_panels(data: pd.DataFrame, styles: dict[str, LineStyle]) -> Figure:
    panels = sorted(data["panel"].unique())
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(rows, columns)
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for rank, ax in enumerate(axes.flat):
        ax.set_visible(rank < len(panels))
        if rank >= len(panels):
            continue
        part = data[data["panel"] == panels[rank]]
        draw_curves(ax, part, degree_colour, styles)
        ax.axhline(0, color=GREY, linewidth=0.9, linestyle=(0, (5, 2)), zorder=0)
        ax.set_title(panels[rank])
        minor_ticks(ax, "x")
        kept = pd.concat([without_startup(part), pd.Series([0.0])])
        if set_scale(ax, "y", kept) == "linear":
            margin = 0.06 * (kept.max() - kept.min() or 1.0)
            ax.set_ylim(kept.min() - margin, kept.max() + margin)
        if rank + columns >= len(panels):
            ax.set_xlabel("optimiser steps")
            ax.tick_params(labelbottom=True)
    for line in axes:
        line[0].set_ylabel("overfit index (nats per image)")
    return figure
