"""Axes and arms of the figures whose points are cells."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from nllgen_analysis.figures import scales, style
from nllgen_analysis.figures.style import DARK_GREY
from nllgen_analysis.frames import student_order
from nllgen_analysis.statistics import geometric_mean

GROUP = ["panel", "x_label", "y_label", "student", "paradigm", "setting", "group"]


def with_scales(data: pd.DataFrame) -> pd.DataFrame:
    """Add ``x_scale`` and ``y_scale``, one per measure in all panels, and let the means suit them."""
    data = data.assign(x_scale="", y_scale="")
    for axis in ("x", "y"):
        for label, rows in data.groupby(f"{axis}_label", sort=False):
            is_ratio = "nats per image" not in label  # the NLL of real images may be of either sign
            cells = rows[rows["kind"] == "cell"]
            values = [*cells[axis].astype(float), *(cells["floor"].astype(float) if axis == "y" else [])]
            scale = scales.scale_of(values, is_ratio=is_ratio)
            data.loc[rows.index, f"{axis}_scale"] = scale
            if scale == "log":
                own = geometric_mean(cells, GROUP, axis).set_index(GROUP)
                means = rows[rows["kind"] == "mean"]
                keys = pd.MultiIndex.from_frame(means[GROUP])
                for name, column in {"mean": axis, "low": f"{axis}_low", "high": f"{axis}_high"}.items():
                    data.loc[means.index, column] = own[name].reindex(keys).to_numpy()
    return data


def use_scales(ax: Axes, data: pd.DataFrame, every: pd.DataFrame) -> None:
    """Scale both axes by the values of their measures in ``every`` panel that is to be compared.

    A value of 0 has a triangle at the edge of a logarithmic axis.
    """
    cells = data[data["kind"] == "cell"]
    for axis, other in (("x", "y"), ("y", "x")):
        scale = data[f"{axis}_scale"].iloc[0]
        shown = every[(every["kind"] == "cell") & (every[f"{axis}_label"] == data[f"{axis}_label"].iloc[0])]
        floor = shown["floor"].astype(float) if axis == "y" else shown["x"]
        scales.use_scale(ax, axis, scale, [*shown[axis], *floor])
        if scale == "log":
            scales.mark_below(ax, axis, cells.loc[cells[axis] <= 0, other], DARK_GREY)


def arm_names(data: pd.DataFrame) -> pd.Series:
    """Return the degree of each row, with the data and what varies where a panel has several; "" of a floor.

    The paradigm is left to the marker, and so an arm has a colour and a marker of its own.
    """
    known = data[data["student"].notna()]
    names = known["student"]
    if (known.groupby("panel")["setting"].nunique() > 1).any():
        parts = known["setting"].str.split(", ", n=1).str
        sizes = parts[1].replace("fresh samples", "fresh")
        names = names + ", " + sizes.where(known["setting"].str.startswith("synthetic"), parts[0])
    variants = known["group"].map(lambda group: " ".join(group.split(" · ")[3:]))
    return names.str.cat(variants, sep=" ").str.strip().reindex(data.index, fill_value="")


def first_of_arms(data: pd.DataFrame) -> pd.DataFrame:
    """Return the first row of each arm, in the order of degrees."""
    first = data.drop_duplicates("arm")
    order = student_order(first["student"])
    return first.sort_values("student", key=lambda column: column.map(order.index), kind="stable")


def arm_palette(arms: pd.DataFrame, cells: pd.DataFrame) -> dict[str, str]:
    """Return a colour for each arm of a figure, which it has in every figure of these cells.

    ``arms`` has a row per arm. Where a figure tells arms apart by their data, so do all cells of a source.
    """
    every = cells[cells["role"] != "truth"]
    every = every.assign(arm=arm_names(every.assign(panel=every["source"]))).drop_duplicates("group")
    first = first_of_arms(every)
    colours = style.arm_colours({row.arm: style.degree_colour(row.student) for row in first.itertuples(index=False)})
    names = dict(zip(every["group"], every["arm"], strict=True))
    return {row.arm: colours[names[row.group]] for row in arms.itertuples(index=False)}
