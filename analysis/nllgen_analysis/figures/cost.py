"""What training costs against what comes out: seconds of training, KL or NLL, and Fréchet distance."""

from __future__ import annotations

import pandas as pd

from nllgen_analysis.figures.frechet import EXTRACTORS
from nllgen_analysis.figures.missing import with_absent
from nllgen_analysis.figures.points import (
    COLUMNS,
    NAMES,
    describe_points,
    draw_points,
    likelihood,
    markers_of,
    means_text,
    point_data,
    point_handles,
)
from nllgen_analysis.figures.style import Drawn, FigureResult, NotDrawn, legend_below, new_figure, set_scale
from nllgen_analysis.frames import Frames
from nllgen_analysis.text import listing

TITLE = "Cost against quality"
X_LABEL = "training time (s)"


def draw_cost(frames: Frames) -> list[FigureResult]:
    """One figure: a row a source; its likelihood and its Fréchet distances against the time that training took."""
    data = cost_data(frames)
    if data.empty:
        return [NotDrawn("cost", TITLE, f"no trained cell has a time and a final metric ({frames.counts_text})")]
    panels = list(data["panel"].unique())
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(rows, columns, row_height=2.3, extra=0.6)
    markers = markers_of(data)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for ax, panel in zip(axes, panels, strict=False):
        part = data[data["panel"] == panel]
        set_scale(ax, "x", part["x"])
        set_scale(ax, "y", part["y"])
        draw_points(ax, part, markers)
        ax.set_title(panel)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    legend_below(figure, point_handles(data, markers))
    texts = [f"{panel}: {means_text(data[data['panel'] == panel], ('seconds', 'value'))}." for panel in panels]
    data, absent = with_absent(data, _trained(frames.cells))
    return [Drawn("cost", TITLE, figure, data, f"{_caption(frames)} {' '.join(texts)} {absent}".strip())]


def cost_data(frames: Frames) -> pd.DataFrame:
    """The plotted numbers, ``points.COLUMNS``: a panel a source and measure, seconds of training along x."""
    rows = _trained(frames.final[frames.final["weights"] == "last"].drop(columns=["step"]).join(
        frames.cells[["steps", "seconds_per_step"]], on="cell"))  # fmt: skip
    rows = rows.assign(training_s=rows["steps"] * rows["seconds_per_step"].astype(float))
    parts = []
    for source, name in NAMES.items():
        own = rows[rows["source"] == source]
        wanted = [found] if (found := likelihood(own, source)) else []
        wanted += [(f"frechet_{key}", f"Fréchet distance\n({of} features, unitless)") for key, of in EXTRACTORS.items()]
        for column, label in wanted:
            panel = f"{name}, {label.split(' (')[0].splitlines()[0]}"
            panel += f" ({EXTRACTORS[column.removeprefix('frechet_')]})" if column.startswith("frechet_") else ""
            parts.append(point_data(own, "training_s", column, panel=panel, labels=(X_LABEL, label)))
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(COLUMNS))


def _trained(rows: pd.DataFrame) -> pd.DataFrame:
    """W* takes no step and costs nothing."""
    return rows[(rows["role"] != "truth") & (rows["steps"] > 0)]


def _caption(frames: Frames) -> str:
    ran = frames.cells[(frames.cells["role"] != "truth") & (frames.cells["device"] != "")]
    places = ran[["device", "num_threads"]].drop_duplicates().sort_values(["device", "num_threads"])
    told = [
        f"{row.device} with {row.num_threads:.0f} thread{'s' * (row.num_threads != 1)}"
        for row in places.itertuples(index=False)
    ]
    return (
        f"{describe_points()} Time is of training steps alone, without measuring, on {listing(told)}. The cheaper and "
        "the better, the further down and to the left."
    )
