"""Fréchet distance over training by paradigm, one figure per setting and feature extractor."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from nllgen_analysis.figures import curves, panels, scales, style
from nllgen_analysis.figures.style import EXTRACTORS, GREY, FigureResult, degree_colour, paradigm_colour
from nllgen_analysis.frames import Frames, student_order

TITLE = "Fréchet distance over training by paradigm"
X_LABELS = {"epoch": "epochs", "step": "optimiser steps"}


DEGREES = "frechet_degrees"
DEGREES_TITLE = "Fréchet distance over training by degree"


def draw_frechet(frames: Frames) -> list[FigureResult]:
    """Draw Fréchet distances over epochs, or steps on fresh samples, by paradigm and by degree.

    By paradigm there is a panel per degree, by degree one per paradigm. A panel without a comparison is left out if its
    curve is in the other figure.
    """
    return [result for extractor in EXTRACTORS for result in _draw_extractor(frames, extractor)]


def _draw_extractor(frames: Frames, extractor: str) -> list[FigureResult]:
    name, title = f"frechet_{extractor}", f"{TITLE} ({EXTRACTORS[extractor]} features)"
    rows = curves.measured(frames.eval, [name])
    draw = partial(_draw_setting, extractor=extractor)
    lack = f"no evaluation has a Fréchet distance on {EXTRACTORS[extractor]} features"
    several, _ = curves.split_by_degree(rows[rows["weights"] == "raw"], has_truth=True)
    of_degree = rows.groupby(["setting", "student"])
    is_compared = (of_degree["paradigm"].transform("nunique") > 1) | (of_degree["variant"].transform("nunique") > 1)
    rows = rows[is_compared | ~rows["id"].isin(several["id"])]
    drawn = panels.draw_settings(frames, rows, name, title, draw, lack) if len(rows) or several.empty else []
    if len(several):
        title = f"{DEGREES_TITLE} ({EXTRACTORS[extractor]} features)"
        draw = partial(_draw_degrees, extractor=extractor)
        drawn += panels.draw_settings(frames, several, f"{DEGREES}_{extractor}", title, draw, lack)
    return drawn


def frechet_data(rows: pd.DataFrame, extractor: str) -> pd.DataFrame:
    """Return the plotted numbers of one setting: a panel per student; kind ``floor`` is the floor at equal N."""
    ema = rows["weights"].map({"ema": "EMA"}).fillna("")
    names = rows["paradigm"].str.cat([ema, rows["variant"]], sep=" ").str.replace("  ", " ").str.strip()
    arms = rows["paradigm"].str.cat(rows["variant"], sep=" ").str.strip()
    # the EMA of a cell is a curve of its own in the colour of its arm: one row per cell, weights and step
    rows = rows.assign(series=names, arm=arms).sort_values(["paradigm", "series"], kind="stable")
    x, scale, floor = x_column(rows), distance_scale(rows, extractor), floor_of(rows, extractor)
    parts = []
    for student in student_order(rows["student"]):
        for weights in ("raw", "ema"):
            chosen = rows[(rows["student"] == student) & (rows["weights"] == weights)]
            if len(chosen):
                curve = curves.curve_data(
                    chosen, f"frechet_{extractor}", panel=student, hue="paradigm", x=x, scale=scale
                )
                parts.append(curve.assign(weights=weights))
    return pd.concat([*parts, floor], ignore_index=True).assign(x_unit=x)


def degrees_data(rows: pd.DataFrame, extractor: str) -> pd.DataFrame:
    """Return the plotted numbers by degree of one setting: a panel per paradigm, raw weights."""
    rows = curves.by_degree(rows)
    x, scale = x_column(rows), distance_scale(rows, extractor)
    parts = [
        curves.curve_data(part, f"frechet_{extractor}", panel=str(paradigm), hue="student", x=x, scale=scale)
        for paradigm, part in rows.groupby("paradigm")
    ]
    data = curves.in_order(pd.concat(parts, ignore_index=True), rows["series"])
    return pd.concat([data, floor_of(rows, extractor)], ignore_index=True).assign(x_unit=x, weights="raw")


def distance_scale(rows: pd.DataFrame, extractor: str) -> scales.Scale:
    """Return the scale of Fréchet distances and their floor."""
    values = rows[[f"frechet_{extractor}", f"frechet_floor_{extractor}"]].astype(float)
    return scales.scale_of(values.to_numpy(), is_ratio=True)


def floor_of(rows: pd.DataFrame, extractor: str) -> pd.DataFrame:
    """Return a row of kind ``floor`` with the mean floor, none where it was not measured."""
    floor = panels.finite(rows, f"frechet_floor_{extractor}")[f"frechet_floor_{extractor}"].astype(float)
    return pd.DataFrame({"panel": ["all"], "kind": ["floor"], "value": [floor.mean()]} if len(floor) else {})


def x_column(rows: pd.DataFrame) -> str:
    """Return ``epoch`` if every row has one, else ``step``; fresh samples have no epochs."""
    epochs = rows["epoch"].astype(float)
    has_epochs = np.isfinite(epochs).all() and epochs.max() > 0 and (rows["num_train"] != "fresh").all()
    return "epoch" if has_epochs else "step"


def _draw_setting(frames: Frames, rows: pd.DataFrame, extractor: str) -> panels.Parts:
    data = frechet_data(rows, extractor)
    curved = data[data["kind"] != "floor"]
    colours, _ = curves.looks(curved.sort_values("series"), paradigm_colour)
    weights = curved.drop_duplicates("series").set_index("series")["weights"]
    styles: dict[str, style.LineStyle] = {name: "--" if kind == "ema" else "-" for name, kind in weights.items()}
    return _draw(frames, data, (colours, styles), extractor, rows)


def _draw_degrees(frames: Frames, rows: pd.DataFrame, extractor: str) -> panels.Parts:
    data = degrees_data(rows, extractor)
    return _draw(frames, data, curves.looks(data[data["kind"] != "floor"], degree_colour), extractor, rows)


def _draw(frames: Frames, data: pd.DataFrame, looks: curves.Looks, extractor: str, rows: pd.DataFrame) -> panels.Parts:
    drawn, floor = data[data["kind"] != "floor"], data.loc[data["kind"] == "floor", "value"]
    x_label = X_LABELS[str(drawn["x_unit"].iloc[0])]
    grid = panels.Grid(
        row_height=2.1, share_x=True, share_y=True, x_label=x_label, y_label=style.frechet_label(extractor)
    )
    figure, axes = grid.draw(list(drawn["panel"].unique()))
    for panel, ax in axes.items():
        curves.draw_curves(ax, drawn[drawn["panel"] == panel], looks)
        for value in floor:
            style.floor_line(ax, value)
    seeds = drawn.loc[drawn["kind"] == "seed", "value"]
    scales.use_scale(figure.axes[0], "y", drawn["scale"].iloc[0], pd.concat([seeds, floor]))
    scales.minor_ticks(figure.axes[0], "x")
    handles = curves.legend_handles(drawn, looks)
    if len(floor):
        handles.append(style.line_key("floor", GREY, ":"))
    style.legend_below(figure, handles)
    setting = rows["setting"].iloc[0]
    texts = _caption(frames, drawn, floor, f"{setting}, both quantised to 8 bit, {EXTRACTORS[extractor]}")
    groups = frames.cells["group"].isin(rows["group"].unique())
    return figure, data, texts, frames.cells[groups & (frames.cells["setting"] == setting)]


def _caption(frames: Frames, drawn: pd.DataFrame, floor: pd.Series, compared_to: str) -> list[str]:
    metrics = frames.study.get("metrics", {})
    num = metrics.get("num_samples_every") or metrics.get("num_samples")
    samples = f"{num:,} model samples" if isinstance(num, int) else "model samples"
    ends = (
        f"{panel}: {curves.ends_text(rows) or 'none finite'}." for panel, rows in drawn.groupby("panel", sort=False)
    )
    return [
        f"Fréchet distance of {samples} against the validation images of {compared_to} features.",
        curves.description(drawn),
        f"Dotted grey: floor, reference against reference at equal N, {floor.iloc[0]:.3g}." if len(floor) else "",
        "At the last evaluation:",
        *ends,
        curves.diverged_text(drawn),
    ]
