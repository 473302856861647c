"""Sheets of samples by paradigm and degree, below images of the truth and of MNIST."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nllgen.storage.hdf5 import Array
from nllgen_analysis.figures import panels
from nllgen_analysis.figures.style import WIDTH_IN, FigureResult
from nllgen_analysis.frames import Frames, ranked

NAME, TITLE = "samples", "Samples by paradigm and degree"
COLUMNS = 12
LABEL_CHARACTERS = 30  # in a line
LABEL_IN = 1.45
MAX_ROWS = 24
REFERENCES = {"mnist": "MNIST", "truth": "truth"}


def draw_samples(frames: Frames) -> list[FigureResult]:
    """Draw one sheet per setting: a row per group with the first images of its first seed, not selected."""
    with_samples = frames.cells[frames.cells.index.isin(np.unique(frames.samples_cell))]
    with_samples = with_samples[with_samples["role"] != "truth"]
    return panels.draw_settings(frames, with_samples, NAME, TITLE, _draw_setting, "no cell kept samples")


def sheet_rows(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cell with the lowest seed of each group, sorted by paradigm and degree, with its label as ``row``."""
    firsts = cells.sort_values("seed", kind="stable").drop_duplicates("group")
    firsts = ranked(firsts).sort_values(["paradigm", "_student", "variant"])
    mark = firsts["outcome"].map({"diverged": " (diverged)"}).fillna("")
    names = firsts["paradigm"] + " " + firsts["student"] + mark
    is_varied = firsts["variant"] != ""
    lines = firsts["variant"].map(lambda variant: textwrap.fill(variant, LABEL_CHARACTERS))
    return firsts.assign(row=names.where(~is_varied, names + "\n" + lines))


def strip(images: Array, count: int = COLUMNS) -> Array:
    """Place the first images (n, C, H, W) side by side: (H, count·(W + gap) − gap); places without an image are NaN."""
    _, _, height, width = images.shape
    gap = max(1, width // 14)
    row = np.full((height, count * (width + gap) - gap), np.nan, dtype=np.float32)
    for rank, image in enumerate(images[:count]):
        left = rank * (width + gap)
        row[:, left : left + width] = np.clip(image[0], 0.0, 1.0)
    return row


def _draw_setting(frames: Frames, cells: pd.DataFrame) -> panels.Parts:
    rows = sheet_rows(cells)
    strips: list[tuple[str, Array]] = []
    listed: list[dict[str, object]] = []
    for key, label in REFERENCES.items():
        if key in frames.reference and len(frames.reference[key]):
            strips.append((label, frames.reference[key]))
            listed.append({"row": label, "cell_id": "", "seed": "", "outcome": ""})
    references = [label for label, _ in strips]
    for row in rows.iloc[:MAX_ROWS].itertuples():
        strips.append((row.row, frames.samples[frames.samples_cell == row.Index]))
        listed.append({"row": row.row, "cell_id": row.id, "seed": row.seed, "outcome": row.outcome})
    data = pd.DataFrame(listed)
    data["num_shown"] = [min(COLUMNS, len(images)) for _, images in strips]
    data["mean_pixel"] = [float(np.mean(images[:COLUMNS], dtype=np.float64)) for _, images in strips]
    texts = _caption(cells["setting"].iloc[0], references, len(rows) - MAX_ROWS)
    return _draw_sheet(strips), data, texts, cells.iloc[:0]


def _caption(setting: str, references: list[str], num_hidden: int) -> list[str]:
    missing = [label for label in REFERENCES.values() if label not in references]
    texts = [
        f"First {COLUMNS} samples of the lowest seed of each group trained on {setting}, not selected; above them "
        f"{' and '.join(references) or 'no reference'}."
    ]
    if missing:
        texts.append(f"The study has no reference images of {' and '.join(missing)}.")
    if num_hidden > 0:
        texts.append(f"{num_hidden} further groups are not shown; study.h5 has their samples.")
    return texts


def _draw_sheet(strips: list[tuple[str, Array]]) -> Figure:
    image_in = (WIDTH_IN - LABEL_IN) / COLUMNS
    figure = Figure(figsize=(WIDTH_IN, len(strips) * image_in * 1.04))
    axes = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(left=LABEL_IN / WIDTH_IN, right=0.998, top=0.999, bottom=0.001, hspace=0.08)
    for ax, (label, images) in zip(axes, strips, strict=True):
        ax.imshow(np.ma.masked_invalid(strip(images)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_axis_off()
        weight = "bold" if label in REFERENCES.values() else "normal"
        size = 7 if label.count("\n") < 3 else 5  # so that a label of several lines fits beside its strip
        ax.text(-0.012, 0.5, label, transform=ax.transAxes, ha="right", va="center", fontsize=size, fontweight=weight)
    return figure
