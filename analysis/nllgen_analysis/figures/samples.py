"""Sheets of samples: ten by ten images of each arm, after real images and images of the truth."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nllgen.storage.hdf5_data import Array
from nllgen_analysis.figures import panels
from nllgen_analysis.figures.style import WIDTH_IN, FigureResult, literal
from nllgen_analysis.frames import Frames, ranked

NAME, TITLE = "samples", "Samples by arm"
COLUMNS = ROWS = 10  # images of a sheet
SHEETS = 3  # side by side
MAX_SHEETS = 24
TITLE_IN = 0.14  # height of a line of a title
TITLE_CHARACTERS = 34  # in a line
GAP_IN = 0.08


def draw_samples(frames: Frames) -> list[FigureResult]:
    """Draw one figure per setting: a sheet per arm with the first images of its first seed, not selected."""
    with_samples = frames.cells[frames.cells.index.isin(frames.samples["cell"].unique())]
    with_samples = with_samples[with_samples["role"] != "truth"]
    return panels.draw_settings(frames, with_samples, NAME, TITLE, _draw_setting, "no cell kept samples")


def arm_rows(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cell with the lowest seed of each arm, sorted by paradigm and degree, with its label as ``row``."""
    firsts = cells.sort_values("seed", kind="stable").drop_duplicates("group")
    firsts = ranked(firsts).sort_values(["paradigm", "_student", "variant"])
    mark = firsts["outcome"].map({"diverged": " (diverged)"}).fillna("")
    names = firsts["paradigm"] + " " + firsts["student"] + mark
    lines = firsts["variant"].map(lambda variant: textwrap.fill(variant, TITLE_CHARACTERS))
    return firsts.assign(row=names.where(firsts["variant"] == "", names + "\n" + lines))


def strip(images: Array, count: int = COLUMNS) -> Array:
    """Place the first images (n, C, H, W) side by side: (H, count·(W + gap) − gap), of colours (…, 3).

    Places without an image are NaN.
    """
    _, channels, height, width = images.shape
    gap = max(1, width // 14)
    row = np.full((height, count * (width + gap) - gap, channels), np.nan, dtype=np.float32)
    for rank, image in enumerate(images[:count]):
        left = rank * (width + gap)
        row[:, left : left + width] = np.clip(image.transpose(1, 2, 0), 0.0, 1.0)
    return row[..., 0] if channels == 1 else row


def sheet(images: Array, num_rows: int = ROWS) -> Array:
    """Place the first images (n, C, H, W) in ``num_rows`` strips of ten below each other; the rest is NaN."""
    gap = max(1, images.shape[-1] // 14)
    strips = [strip(images[rank * COLUMNS : (rank + 1) * COLUMNS]) for rank in range(num_rows)]
    between = np.full((gap, *strips[0].shape[1:]), np.nan, dtype=np.float32)
    return np.concatenate([part for row in strips for part in (row, between)][:-1])


def _draw_setting(frames: Frames, cells: pd.DataFrame) -> panels.Parts:
    arms = arm_rows(cells)
    sheets: list[tuple[str, Array]] = []
    listed: list[dict[str, object]] = []
    expected = frames.reference_titles
    for key, label in expected.items():
        if key in frames.reference and len(frames.reference[key]):
            sheets.append((label, frames.reference[key]))
            listed.append({"row": label, "cell_id": "", "seed": "", "outcome": ""})
    references = [label for label, _ in sheets]
    for arm in arms.iloc[:MAX_SHEETS].itertuples():
        sheets.append((arm.row, frames.images_of(arm.Index)))
        listed.append({"row": arm.row, "cell_id": arm.id, "seed": arm.seed, "outcome": arm.outcome})
    most = max(len(images) for _, images in sheets[len(references) :])
    num_rows = max(1, min(ROWS, most // COLUMNS))  # full ones
    num_shown = num_rows * COLUMNS
    data = pd.DataFrame(listed)
    data["num_shown"] = [min(num_shown, len(images)) for _, images in sheets]
    data["mean_pixel"] = [float(np.mean(images[:num_shown], dtype=np.float64)) for _, images in sheets]
    texts = [*_caption(cells["setting"].iloc[0], expected, references, num_shown, len(arms) - MAX_SHEETS)]
    trained = frames.cells[frames.cells["id"].isin([*data["cell_id"], *cells["truth_id"]])]
    return _draw_sheets(sheets, num_rows, references), data, [*texts, panels.lengths_text(trained)], cells.iloc[:0]


def _caption(
    setting: str, expected: Mapping[str, str], references: list[str], num_shown: int, num_hidden: int
) -> list[str]:
    missing = [label for label in expected.values() if label not in references]
    texts = [
        f"Up to {num_shown} samples of the lowest seed of each arm trained on {setting}, the first ones, not selected; "
        f"before them {' and '.join(references) or 'no reference'}. Flows of one seed and base density draw the same "
        "latents: images at one place in their sheets come from one latent."
    ]
    if missing:
        texts.append(f"The study has no reference images of {' and '.join(missing)}.")
    if num_hidden > 0:
        texts.append(f"{num_hidden} further arms are not shown; study.h5 has their samples.")
    return texts


def _draw_sheets(sheets: list[tuple[str, Array]], num_rows: int, references: Sequence[str]) -> Figure:
    """Draw the sheets in rows of three, each below its title; those of references are bold."""
    titles = [textwrap.fill(title, TITLE_CHARACTERS) if "\n" not in title else title for title, _ in sheets]
    width_in = (WIDTH_IN - (SHEETS - 1) * GAP_IN) / SHEETS
    lines = [titles[rank : rank + SHEETS] for rank in range(0, len(titles), SHEETS)]
    title_in = [TITLE_IN * (1 + max(title.count("\n") for title in row)) + GAP_IN for row in lines]
    sheet_in = width_in * num_rows / COLUMNS
    height_in = sum(title_in) + len(lines) * sheet_in
    figure = Figure(figsize=(WIDTH_IN, height_in))
    top = height_in
    for rank, (title, (_, images)) in enumerate(zip(titles, sheets, strict=True)):
        row, column = divmod(rank, SHEETS)
        if column == 0:
            top -= title_in[row] + sheet_in
        left = column * (width_in + GAP_IN) / WIDTH_IN
        ax = figure.add_axes((left, top / height_in, width_in / WIDTH_IN, sheet_in / height_in))
        ax.imshow(_drawable(sheet(images, num_rows)), cmap="gray", vmin=0, vmax=1, aspect="auto")
        ax.set_axis_off()
        weight = "bold" if title in references else "normal"
        ax.text(0, 1.01, literal(title), transform=ax.transAxes, va="bottom", fontsize=6.5, fontweight=weight)
    return figure


def _drawable(pixels: Array) -> Array:
    """Return what matplotlib draws of a sheet: nothing where there is no image, and white in one of colours."""
    return np.ma.masked_invalid(pixels) if pixels.ndim == 2 else np.nan_to_num(pixels, nan=1.0)
