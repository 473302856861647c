"""Fréchet distance over training by paradigm, one figure a setting and feature extractor."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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
    LineStyle,
    NotDrawn,
    legend_below,
    limited,
    minor_ticks,
    new_figure,
    paradigm_colour,
    set_scale,
)
from nllgen_analysis.frames import Frames, setting_order, student_order

TITLE = "Fréchet distance over training by paradigm"
EXTRACTORS = {"lenet": "LeNet", "inception": "Inception"}


def draw_frechet(frames: Frames) -> list[FigureResult]:
    """Fréchet distance over epochs (steps on fresh samples): a panel a degree, colours by paradigm, and the floor."""
    results: list[FigureResult] = []
    for extractor, name in EXTRACTORS.items():
        title = f"{TITLE} ({name} features)"
        rows = measured(frames.eval, [f"frechet_{extractor}"])
        if rows.empty:
            reason = f"no evaluation has a Fréchet distance on {name} features ({frames.counts_text})"
            results.append(NotDrawn(f"frechet_{extractor}", title, reason))
            continue
        settings, rest = limited(setting_order(rows), f"frechet_{extractor}", title)
        results += [_draw_setting(frames, rows[rows["setting"] == setting], extractor) for setting in settings]
        results += rest
    return results


def frechet_data(rows: pd.DataFrame, extractor: str) -> pd.DataFrame:
    """The plotted numbers of one setting; ``panel`` is the student, ``kind`` floor is the floor at equal N."""
    ema = rows["weights"].map({"ema": "EMA"}).fillna("")
    names = rows["paradigm"].str.cat([ema, rows["variant"]], sep=" ").str.replace("  ", " ").str.strip()
    # a cell's EMA is a curve of its own: one row a cell, weights and step
    rows = rows.assign(series=names).sort_values(["paradigm", "series"], kind="stable")
    x = x_column(rows)
    parts = []
    for student in student_order(rows["student"]):
        part = rows[rows["student"] == student]
        for weights in ("raw", "ema"):
            chosen = part[part["weights"] == weights]
            if len(chosen):
                curve = curve_data(chosen, f"frechet_{extractor}", panel=student, hue="paradigm", x=x)
                parts.append(curve.assign(weights=weights))
    floor = rows[f"frechet_floor_{extractor}"].astype(float)
    if np.isfinite(floor).any():
        parts.append(pd.DataFrame({"panel": ["all"], "kind": ["floor"], "value": [floor[np.isfinite(floor)].mean()]}))
    return pd.concat(parts, ignore_index=True).assign(x_unit=x)


def x_column(rows: pd.DataFrame) -> str:
    """Epochs where every row has one, else optimiser steps (fresh samples have no epochs)."""
    epochs = rows["epoch"].astype(float)
    return (
        "epoch" if np.isfinite(epochs).all() and epochs.max() > 0 and (rows["num_train"] != "fresh").all() else "step"
    )


def _draw_setting(frames: Frames, rows: pd.DataFrame, extractor: str) -> Drawn:
    data = frechet_data(rows, extractor)
    curves, floor = data[data["kind"] != "floor"], data.loc[data["kind"] == "floor", "value"]
    styles = series_styles(curves.sort_values(["weights", "series"], ascending=[False, True]))
    figure = _draw_panels(curves, floor, styles, extractor)
    handles = legend_handles(curves.sort_values("series"), paradigm_colour, styles)
    if len(floor):
        handles.append(Line2D([], [], color=GREY, linestyle=":", label="floor"))
    legend_below(figure, handles)
    setting = rows["setting"].iloc[0]
    title = f"{TITLE} ({EXTRACTORS[extractor]} features): {setting}"
    name = f"frechet_{extractor}_{rows['slug'].iloc[0]}"
    caption = _caption(frames, curves, floor, setting, extractor)
    data, absent = with_absent(data, frames.cells[frames.cells["setting"] == setting])
    return Drawn(name, title, figure, data, f"{caption} {absent}".strip())


def _draw_panels(curves: pd.DataFrame, floor: pd.Series, styles: dict[str, LineStyle], extractor: str) -> Figure:
    panels = list(curves["panel"].unique())
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = new_figure(lines, columns, row_height=2.1)
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for ax, panel in zip(axes.flat, panels, strict=False):
        draw_curves(ax, curves[curves["panel"] == panel], paradigm_colour, styles)
        ax.set_title(panel)
        for value in floor:
            ax.axhline(value, color=GREY, linestyle=":", linewidth=1.2, zorder=0)
    set_scale(axes[0, 0], "y", pd.concat([curves["value"], floor]))
    minor_ticks(axes[0, 0], "x")
    unit = {"epoch": "epochs", "step": "optimiser steps"}[str(curves["x_unit"].iloc[0])]
    for rank, ax in enumerate(axes.flat):
        ax.set_visible(rank < len(panels))
        if rank + columns >= len(panels):
            ax.set_xlabel(unit)
            ax.tick_params(labelbottom=True)
    for line in axes:
        line[0].set_ylabel(f"Fréchet distance\n({EXTRACTORS[extractor]} features, unitless)")
    return figure


def _caption(frames: Frames, curves: pd.DataFrame, floor: pd.Series, setting: str, extractor: str) -> str:
    metrics = frames.study.get("metrics", {})
    num = metrics.get("num_samples_every") or metrics.get("num_samples")
    sides = f" of {num:,} model samples" if isinstance(num, int) else " of model samples"
    ends = [f"{panel}: {ends_text(rows) or 'none finite'}." for panel, rows in curves.groupby("panel", sort=False)]
    texts = [
        f"Fréchet distance{sides} against the validation images of {setting}, both quantised to 8 bit, "
        f"{EXTRACTORS[extractor]} features, by degree.",
        describe_means(),
        f"Dotted grey: floor, reference against reference at equal N, {floor.iloc[0]:.3g}." if len(floor) else "",
        "At the last evaluation:",
        *ends,
        diverged_text(curves),
    ]
    return " ".join(text for text in texts if text)
