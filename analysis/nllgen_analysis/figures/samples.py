"""Sheets of samples by paradigm and degree, beside the truth and MNIST."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nllgen.storage.hdf5 import Array
from nllgen_analysis.figures.style import WIDTH_IN, Drawn, FigureResult, NotDrawn, limited
from nllgen_analysis.frames import Frames, setting_order, student_order

TITLE = "Samples by paradigm and degree"
COLUMNS = 12
LABEL_CHARACTERS = 30  # a line of what tells arms apart
MAX_ROWS = 24
REFERENCES = {"mnist": "MNIST", "truth": "truth"}


def draw_samples(frames: Frames) -> list[FigureResult]:
    """One sheet a setting: a row a group, the first seed's first images as they came, nothing chosen by eye."""
    with_samples = frames.cells[frames.cells.index.isin(np.unique(frames.samples_cell))]
    with_samples = with_samples[with_samples["role"] != "truth"]
    if with_samples.empty:
        return [NotDrawn("samples", TITLE, f"no cell kept samples ({frames.counts_text})")]
    settings, rest = limited(setting_order(with_samples), "samples", TITLE)
    return [*(_draw_setting(frames, with_samples[with_samples["setting"] == name]) for name in settings), *rest]


def sheet_rows(cells: pd.DataFrame) -> pd.DataFrame:
    """One cell a group, the one with the lowest seed, sorted by paradigm and degree."""
    order = {name: rank for rank, name in enumerate(student_order(cells["student"]))}
    firsts = cells.sort_values("seed", kind="stable").drop_duplicates("group")
    firsts = firsts.assign(_rank=firsts["student"].map(order)).sort_values(["paradigm", "_rank", "variant"])
    mark = firsts["outcome"].map({"diverged": " (diverged)"}).fillna("")
    names = firsts["paradigm"] + " " + firsts["student"] + mark
    varied = firsts["variant"] != ""
    lines = firsts["variant"].map(lambda variant: textwrap.fill(variant, LABEL_CHARACTERS))
    return firsts.assign(row=names.where(~varied, names + "\n" + lines))


def strip(images: Array, count: int = COLUMNS) -> Array:
    """The first images side by side with a gap: (n, C, H, W) → (H, count·(W + gap) − gap), NaN where there is none."""
    _, _, height, width = images.shape
    gap = max(1, width // 14)
    row = np.full((height, count * (width + gap) - gap), np.nan, dtype=np.float32)
    for rank, image in enumerate(images[:count]):
        left = rank * (width + gap)
        row[:, left : left + width] = np.clip(image[0], 0.0, 1.0)
    return row


def _draw_setting(frames: Frames, cells: pd.DataFrame) -> Drawn:
    rows = sheet_rows(cells)
    shown, hidden = rows.iloc[:MAX_ROWS], len(rows) - MAX_ROWS
    strips: list[tuple[str, Array]] = []
    listed: list[dict[str, object]] = []
    for key, label in REFERENCES.items():
        if key in frames.reference and len(frames.reference[key]):
            strips.append((label, frames.reference[key]))
            listed.append({"row": label, "cell_id": "", "seed": "", "outcome": ""})
    for row in shown.itertuples():
        strips.append((row.row, frames.samples[frames.samples_cell == row.Index]))
        listed.append({"row": row.row, "cell_id": row.id, "seed": row.seed, "outcome": row.outcome})
    data = pd.DataFrame(listed)
    data["num_shown"] = [min(COLUMNS, len(images)) for _, images in strips]
    data["mean_pixel"] = [float(np.mean(images[:COLUMNS], dtype=np.float64)) for _, images in strips]
    setting = cells["setting"].iloc[0]
    missing = [label for key, label in REFERENCES.items() if label not in list(data["row"])]
    caption = (
        f"First {COLUMNS} samples of the lowest seed of each group trained on {setting}, not selected; above them "
        f"{' and '.join(label for label in REFERENCES.values() if label not in missing) or 'no reference'}."
        + (f" The study has no reference images of {' and '.join(missing)}." if missing else "")
        + (f" {hidden} further groups are not shown; study.h5 has their samples." if hidden > 0 else "")
    )
    return Drawn(f"samples_{cells['slug'].iloc[0]}", f"{TITLE}: {setting}", _draw_sheet(strips), data, caption)


def _draw_sheet(strips: list[tuple[str, Array]]) -> Figure:
    label_in = 1.45
    image_in = (WIDTH_IN - label_in) / COLUMNS
    figure = Figure(figsize=(WIDTH_IN, len(strips) * image_in * 1.04))
    axes = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(left=label_in / WIDTH_IN, right=0.998, top=0.999, bottom=0.001, hspace=0.08)
    for ax, (label, images) in zip(axes, strips, strict=True):
        ax.imshow(np.ma.masked_invalid(strip(images)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_axis_off()
        bold = "bold" if label in REFERENCES.values() else "normal"
        size = 7 if label.count("\n") < 3 else 5  # of more lines than the strip is high
        ax.text(-0.012, 0.5, label, transform=ax.transAxes, ha="right", va="center", fontsize=size, fontweight=bold)
    return figure
