"""The curves of a figure as numbers, which the page draws again for a reader who looks into them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import cast

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from nllgen_analysis.figures.scales import Scale
from nllgen_analysis.figures.style import Drawn

DIGITS = 5  # significant ones; more cannot be seen
_COLUMNS = {"panel", "series", "kind", "x", "value", "low", "high", "seed", "cell_id", "scale"}


@dataclass(frozen=True)
class Run:
    """One cell of a series."""

    seed: str
    cell: str
    grid: int  # place of its horizontal values in ``Panel.grids``
    values: list[float | None]


@dataclass(frozen=True)
class Series:
    """A mean with its interval, and the runs behind it, in the look that the figure gives them."""

    name: str
    colour: str
    dash: str  # the line style of matplotlib
    grid: int
    values: list[float | None]
    low: list[float | None]
    high: list[float | None]
    runs: list[Run]


@dataclass(frozen=True)
class Panel:
    """One panel of a figure."""

    title: str
    x_label: str
    y_label: str
    scale: Scale  # of the vertical axis
    grids: list[list[float | None]]
    series: list[Series]


def curves_json(drawn: Drawn) -> Markup:
    """Return the curves of a figure as JSON that can stand in a page, empty for a figure without curves."""
    panels = curve_panels(drawn)
    if not panels:
        return Markup("")
    text = json.dumps([asdict(panel) for panel in panels], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for mark in "<>&":  # so that no text of the study ends the element
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


def curve_panels(drawn: Drawn) -> list[Panel]:
    """Return the panels whose lines are curves of the figure's data."""
    if not set(drawn.data) >= _COLUMNS:
        return []
    panels = []
    for ax in drawn.figure.axes:
        rows = drawn.data[drawn.data["panel"] == ax.get_label()]
        if series := _series(ax, rows, grids := _Grids()):
            panels.append(
                Panel(
                    title=" ".join(ax.get_title().split()),
                    x_label=_label(ax.get_xlabel(), (other.get_xlabel() for other in drawn.figure.axes)),
                    y_label=_label(ax.get_ylabel(), (other.get_ylabel() for other in drawn.figure.axes)),
                    scale=cast(Scale, rows["scale"].dropna().iloc[0]),
                    grids=grids.values,
                    series=series,
                )
            )
    return panels


def _label(own: str, others: Iterable[str]) -> str:
    """Return the label of an axis, or that of the outer panel which stands for it."""
    return " ".join((own or next(filter(None, others), "")).split())


class _Grids:
    """The horizontal values of a panel, each list once."""

    def __init__(self) -> None:
        self.values: list[list[float | None]] = []

    def place(self, values: pd.Series) -> int:
        """Return the place of a list, which is added if it is new."""
        grid = _numbers(values)
        if grid not in self.values:
            self.values.append(grid)
        return self.values.index(grid)


def _series(ax: Axes, rows: pd.DataFrame, grids: _Grids) -> list[Series]:
    drawn = {str(line.get_label()): line for line in ax.lines}
    series = []
    for name, own in rows.groupby("series", sort=False):
        if (line := drawn.get(str(name))) is None:
            continue
        mean = own[own["kind"] == "mean"]
        runs = [
            Run(f"{run['seed'].iloc[0]:.0f}", str(cell), grids.place(run["x"]), _numbers(run["value"]))
            for cell, run in own[own["kind"] == "seed"].groupby("cell_id", sort=False)
        ]
        values, low, high = (_numbers(mean[column]) for column in ("value", "low", "high"))
        colour, dash = to_hex(line.get_color()), str(line.get_linestyle())
        series.append(Series(str(name), colour, dash, grids.place(mean["x"]), values, low, high, runs))
    return series


def _numbers(values: pd.Series) -> list[float | None]:
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in values.astype(float)]
