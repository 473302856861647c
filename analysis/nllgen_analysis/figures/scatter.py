"""Final NLL against final Fréchet distance, with rank correlation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from nllgen_analysis.figures.frechet import EXTRACTORS
from nllgen_analysis.figures.style import (
    GREY,
    MARKERS,
    Drawn,
    FigureResult,
    NotDrawn,
    degree_colour,
    legend_below,
    new_figure,
    set_scale,
)
from nllgen_analysis.frames import Frames, student_order
from nllgen_analysis.statistics import rank_correlation
from nllgen_analysis.text import number

TITLE = "Likelihood against image quality"
NAMES = {"mnist": "MNIST", "synthetic": "synthetic MNIST"}
# by source, the first that has finite values: column → axis label
LIKELIHOODS = {
    "mnist": {"test_bits_per_dim": "test NLL (bits per dimension)", "test_nll_nats": "test NLL (nats per image)"},
    "synthetic": {"kl_nats": "KL(p‖q) on test images (nats)", "test_nll_nats": "test NLL (nats per image)"},
}


def draw_scatter(frames: Frames) -> list[FigureResult]:
    """One figure a feature extractor, a panel a source: every cell's last weights, colour by degree."""
    return [_draw_extractor(frames, extractor) for extractor in EXTRACTORS]


def scatter_data(frames: Frames, extractor: str) -> pd.DataFrame:
    """One row a cell with both numbers: panel (source), x, x_label, y, student, paradigm, cell_id, floor."""
    rows = frames.final[(frames.final["weights"] == "last") & (frames.final["role"] != "truth")]
    parts = []
    for source, columns in LIKELIHOODS.items():
        part = rows[rows["source"] == source]
        for column, label in columns.items():
            both = part[np.isfinite(part[[column, f"frechet_{extractor}"]].astype(float)).all(axis=1)]
            if len(both):
                parts.append(both.assign(panel=NAMES[source], x=both[column], x_label=label))
                break
    kept = ["panel", "x", "x_label", "y", "student", "paradigm", "setting", "group", "seed", "cell_id", "floor"]
    if not parts:
        return pd.DataFrame(columns=kept)
    data = pd.concat(parts, ignore_index=True)
    data = data.assign(y=data[f"frechet_{extractor}"], floor=data[f"frechet_floor_{extractor}"], cell_id=data["id"])
    return data[kept]


def _draw_extractor(frames: Frames, extractor: str) -> FigureResult:
    title = f"{TITLE} ({EXTRACTORS[extractor]} features)"
    data = scatter_data(frames, extractor)
    if data.empty:
        reason = (
            f"no cell has both a final NLL and a final Fréchet distance on {EXTRACTORS[extractor]} features "
            f"({frames.counts_text})"
        )
        return NotDrawn(f"nll_frechet_{extractor}", title, reason)
    panels = list(data["panel"].unique())
    markers = {name: MARKERS[rank % len(MARKERS)] for rank, name in enumerate(sorted(data["paradigm"].unique()))}
    figure = new_figure(1, len(panels), row_height=2.7, extra=0.6)
    texts = []
    for ax, panel in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
        texts.append(_draw_panel(ax, data[data["panel"] == panel], markers, extractor))
    legend_below(figure, _handles(data, markers))
    caption = (
        "Every point is a cell at its last step, on the test split. Dotted grey: floor at equal N. Spearman's ρ over "
        f"cells describes and does not test (seeds of a group are not independent): {'; '.join(texts)}."
    )
    return Drawn(f"nll_frechet_{extractor}", title, figure, data, caption)


def _draw_panel(ax: Axes, data: pd.DataFrame, markers: dict[str, str], extractor: str) -> str:
    panel = data["panel"].iloc[0]
    correlation = rank_correlation(data["x"], data["y"])
    palette = {student: degree_colour(student) for student in data["student"].unique()}
    marks = {name: markers[name] for name in data["paradigm"].unique()}
    sns.scatterplot(
        data=data, x="x", y="y", hue="student", palette=palette, style="paradigm", markers=marks, ax=ax, legend=False,
        s=26, alpha=0.85, linewidth=0.4, zorder=3,
    )  # fmt: skip
    floor = data["floor"].astype(float)
    if np.isfinite(floor).any():
        ax.axhline(floor[np.isfinite(floor)].mean(), color=GREY, linestyle=":", linewidth=1.2, zorder=0)
    set_scale(ax, "x", data["x"])
    set_scale(ax, "y", pd.concat([data["y"], floor]))
    ax.set_xlabel(data["x_label"].iloc[0])
    ax.set_ylabel(f"Fréchet distance\n({EXTRACTORS[extractor]} features, unitless)")
    if np.isnan(correlation.rho):
        ax.set_title(f"{panel} (n = {correlation.num})")
        return f"{panel}: not defined (n = {correlation.num})"
    ax.set_title(f"{panel}, ρ = {correlation.rho:.2f} (n = {correlation.num})".replace("-", "−"))
    return f"{panel}: ρ = {number(correlation.rho, 2)}, n = {correlation.num}"


def _handles(data: pd.DataFrame, markers: dict[str, str]) -> list[Line2D]:
    degrees = [
        Line2D([], [], color=degree_colour(student), marker="o", linestyle="", markersize=4, label=student)
        for student in student_order(data["student"])
    ]
    paradigms = [
        Line2D([], [], color="#444444", marker=mark, markerfacecolor="none", linestyle="", markersize=5, label=name)
        for name, mark in markers.items()
    ]
    return [*degrees, *paradigms]
