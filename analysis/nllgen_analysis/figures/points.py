"""Cells as points in a plane of two measures: every seed faint, the mean of a group with its t intervals in front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from nllgen_analysis.captions import cite
from nllgen_analysis.figures.style import DARK_GREY, MARKERS, degree_colour, marker_key
from nllgen_analysis.frames import Frames, student_order
from nllgen_analysis.statistics import summarise
from nllgen_analysis.text import CONDITION, estimate, listing

GROUP = ["panel", "x_label", "y_label", "student", "paradigm", "setting", "group"]
COLUMNS = (
    *GROUP, "kind", "seed", "cell_id", "outcome", "x", "x_low", "x_high", "y", "y_low", "y_high", "num_seeds", "floor",
)  # fmt: skip
MAX_MEANS = 6  # groups in a caption, two numbers each
NAMES = {"mnist": "MNIST", "synthetic": "synthetic MNIST"}
# by source, in order of preference: column of final → axis label
LIKELIHOODS = {
    "mnist": {"test_bits_per_dim": "test NLL (bits per dimension)", "test_nll_nats": "test NLL (nats per image)"},
    "synthetic": {"kl_nats": "KL(p‖q) on test images (nats)", "test_nll_nats": "test NLL (nats per image)"},
}


def final_rows(frames: Frames) -> pd.DataFrame:
    """Return the final metrics of last weights of all cells but the truth's own training."""
    return frames.final[(frames.final["weights"] == "last") & (frames.final["role"] != "truth")]


def likelihood(rows: pd.DataFrame, source: str) -> tuple[str, str] | None:
    """Return the column of ``final`` with the likelihood of a source, and its label; None without values."""
    own = rows[rows["source"] == source]
    known = ((c, label) for c, label in LIKELIHOODS[source].items() if np.isfinite(own[c].astype(float)).any())
    return next(known, None)


def point_data(rows: pd.DataFrame, x: str, y: str, *, panel: str, labels: tuple[str, str]) -> pd.DataFrame:
    """Return the numbers of one panel.

    Args:
        rows: one row per cell with the columns of ``frames.KEYS``; with ``floor`` if ``y`` has one.
        x: column along the horizontal axis.
        y: column along the vertical axis.
        panel: its name.
        labels: of both axes, with units.

    Returns:
        ``COLUMNS``: kind ``cell`` has a row per cell with both numbers, kind ``mean`` a row per group.
    """
    both = rows[np.isfinite(rows[[x, y]].astype(float)).all(axis=1)]
    cells = both.assign(panel=panel, kind="cell", x=both[x].astype(float), y=both[y].astype(float), cell_id=both["id"])
    cells = cells.assign(x_label=labels[0], y_label=labels[1])
    if cells.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    means = summarise(cells, GROUP, "x").rename(columns={"mean": "x", "low": "x_low", "high": "x_high"})
    y_means = summarise(cells, GROUP, "y").rename(columns={"mean": "y", "low": "y_low", "high": "y_high"})
    means = means.drop(columns="note").merge(y_means[[*GROUP, "y", "y_low", "y_high"]], on=GROUP)
    return pd.concat([cells, means.assign(kind="mean")], ignore_index=True).reindex(columns=list(COLUMNS))


def join_panels(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the numbers of all panels that have any."""
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(COLUMNS))


def markers_of(data: pd.DataFrame) -> dict[str, str]:
    """Return the marker of each paradigm."""
    return {name: MARKERS[rank % len(MARKERS)] for rank, name in enumerate(sorted(data["paradigm"].dropna().unique()))}


def draw_points(ax: Axes, data: pd.DataFrame, markers: dict[str, str]) -> None:
    """Draw the points of one panel; colours by degree, markers by paradigm."""
    cells, means = data[data["kind"] == "cell"], data[data["kind"] == "mean"]
    palette = {student: degree_colour(student) for student in cells["student"].unique()}
    marks = {name: markers[name] for name in cells["paradigm"].unique()}
    sns.scatterplot(
        data=cells, x="x", y="y", hue="student", palette=palette, style="paradigm", markers=marks, ax=ax, legend=False,
        s=12, alpha=0.35, linewidth=0, zorder=2,
    )  # fmt: skip
    for row in means.itertuples(index=False):
        ax.errorbar(row.x, row.y, xerr=_arms(row.x, row.x_low, row.x_high), yerr=_arms(row.y, row.y_low, row.y_high),
                    fmt=markers[row.paradigm], color=palette[row.student], markersize=4.5, markeredgewidth=0.5,
                    markeredgecolor="white", elinewidth=0.8, zorder=3)  # fmt: skip
    ax.set_xlabel(data["x_label"].iloc[0])
    ax.set_ylabel(data["y_label"].iloc[0])


def _arms(mean: float, low: float, high: float) -> list[list[float]] | None:
    return None if np.isnan(low) else [[mean - low], [high - mean]]


def point_handles(data: pd.DataFrame, markers: dict[str, str]) -> list[Line2D]:
    """Return a legend key per degree and per paradigm."""
    students = student_order(data["student"].dropna())
    return [
        *(marker_key(student, degree_colour(student)) for student in students),
        *(marker_key(name, DARK_GREY, mark, size=5, face="none") for name, mark in markers.items()),
    ]


def describe_points() -> str:
    """Return the description of the points, for a caption."""
    return (
        "Faint: cells at their last step, on the test split; markers: means of groups with 95 % t intervals over "
        f"seeds, {CONDITION}."
    )


def means_text(data: pd.DataFrame, names: Sequence[str]) -> str:
    """Return both means of every group with the cells behind them; ``names`` are those of x and y."""
    cells = data[data["kind"] == "cell"]
    texts = []
    for row in data[data["kind"] == "mean"].itertuples(index=False):
        behind = cells.loc[(cells["group"] == row.group) & (cells["panel"] == row.panel), "cell_id"]
        x, y = estimate(row.x, row.x_high, row.num_seeds), estimate(row.y, row.y_high, row.num_seeds)
        texts.append(cite(f"{row.group}: {names[0]} {x}, {names[1]} {y}", behind))
    return listing(texts, MAX_MEANS)
