"""The numbers of a figure as a table of the page: each mean with its interval and the cells behind it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from nllgen_analysis.figures import divergences, nash, nll, pr_curve
from nllgen_analysis.figures.style import Drawn
from nllgen_analysis.page_tables import Table, Value
from nllgen_analysis.text import number

# column of a figure's data that names a mean → its heading; the first of those that say the same is shown
LABELS = {
    "panel": "panel",
    "weights": "weights",
    "group": "group",
    "series": "arm",
    "student": "degree",
    "variant": "variant",
    "num_train": "N",
    "num_parameters": "parameters",
}
PANEL_TITLES = {**divergences.PANELS, **{name: title for name, (title, _) in nash.CURVES.items()}}
_MEASURES = (("value", "low", "high"), ("x", "x_low", "x_high"), ("y", "y_low", "y_high"))


def figure_numbers(drawn: Drawn) -> Table:
    """Return a row per mean of a figure, of curves the last one; without means there are no rows."""
    data = drawn.data
    if "kind" not in data or not (data["kind"] == "mean").any():
        return Table([], [])
    means, seeds = data[data["kind"] == "mean"], data[data["kind"].isin(["seed", "cell"])]
    if "point" in data:  # of a curve over ratios the middle, as in its caption
        means, seeds = (rows[rows["point"] == pr_curve.MIDDLE] for rows in (means, seeds))
    is_curve = "series" in data and "x" in data and "y" not in data
    if is_curve:
        means = means[~means["panel"].astype(str).str.endswith(nll.BELOW)]  # the same curves on another axis
    labels = _labels(means)
    if is_curve:
        means = means.sort_values("x", kind="stable").groupby(labels, sort=False, dropna=False).tail(1).sort_index()
        if (means["value"] == 0).all():  # normalised curves, which all end there
            return Table([], [])
    steps = ["x"] if is_curve and means["x"].nunique() > 1 else []
    keys = [*labels, *(["x"] if is_curve else [])]
    behind = seeds.groupby(keys, sort=False, dropna=False)["cell_id"].agg(list)
    measures = [names for names in _MEASURES if names[0] in means and not (is_curve and names[0] == "x")]
    rows = [_row(row, labels, steps, measures, _ids(behind, keys, row)) for row in means.to_dict("records")]
    headings = [LABELS[name] for name in labels] + [_unit(means)] * len(steps)
    for value, _, _ in measures:
        headings += [_heading(means, value), "95 % interval"]
    return Table.with_values([*headings, "seeds"], rows)


def _labels(means: pd.DataFrame) -> list[str]:
    """Return the columns that tell the means apart, without those that repeat the ones before."""
    kept: list[str] = []
    for name in LABELS:
        if name in means and means[name].notna().any():
            num_before = len(means[kept].drop_duplicates()) if kept else 1
            if len(means[[*kept, name]].drop_duplicates()) > num_before:
                kept.append(name)
    return kept or [next(name for name in LABELS if name in means)]


def _ids(behind: pd.Series, keys: list[str], row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    """Return the cells of the seeds that agree with a mean in ``keys``."""
    key = tuple(row[name] for name in keys) if len(keys) > 1 else row[keys[0]]
    return tuple(dict.fromkeys(map(str, behind[key]))) if key in behind.index else ()


def _row(
    row: Mapping[Hashable, Any], labels: list[str], steps: list[str], measures: list[tuple[str, str, str]],
    cells: tuple[str, ...],
) -> list[Value]:  # fmt: skip
    values = [_label(row[name]) for name in labels]
    values += [Value(number(float(row[name])), float(row[name])) for name in steps]
    for value, low, high in measures:
        mean = float(row[value])
        values.append(Value(number(mean, 4), mean if math.isfinite(mean) else None, cells))
        values.append(Value("–" if pd.isna(row[low]) else f"{number(float(row[low]))} … {number(float(row[high]))}"))
    return [*values, Value(f"{row['num_seeds']:.0f}", float(row["num_seeds"]))]


def _unit(means: pd.DataFrame) -> str:
    """Return what the last place of a curve is counted in."""
    units = means["x_unit"].dropna().unique() if "x_unit" in means else ["step"]
    return " or ".join(sorted(units))


def _label(value: object) -> Value:
    if isinstance(value, int | float) and not pd.isna(value):
        return Value(f"{value:,.0f}" if math.isfinite(value) else "fresh samples", float(value))
    return Value("–" if value is None or pd.isna(value) else PANEL_TITLES.get(str(value), str(value)))


def _heading(means: pd.DataFrame, value: str) -> str:
    """Return what a measure is: the label of its axis if all panels share one."""
    names = {"value": "mean", "x": "horizontal", "y": "vertical"}
    labels = means[f"{value}_label"].unique() if f"{value}_label" in means else []
    return " ".join(str(labels[0]).split()) if len(labels) == 1 else names[value]
