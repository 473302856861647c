"""Parts that the families of figures share: grids of panels, a figure per setting, the cells that are not drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nllgen.storage.hdf5_data import Array
from nllgen.study.image_sets import num_training
from nllgen_analysis.figures.scales import Scale
from nllgen_analysis.figures.style import Drawn, FigureResult, NotDrawn, literal, new_figure
from nllgen_analysis.frames import OUTCOME_ORDER, Frames, setting_order
from nllgen_analysis.statistics import geometric_mean, summarise
from nllgen_analysis.text import between, cite, estimate, listing

MAX_SETTINGS = 7  # figures per family: as many settings as a built-in study has
NOT_DRAWN = "none"  # kind of the rows that name cells without a value
_REASONS = {"done": "without a value", "diverged": "diverged", "missing": "missing"}
Sharing = bool | Literal["row"]
Parts = tuple[Figure, pd.DataFrame, Iterable[str], pd.DataFrame]  # figure, data, texts and planned cells of ``finish``


@dataclass(frozen=True)
class Grid:
    """The layout of a figure's panels; labels are below the lowest and beside the first panels.

    One panel is as wide as a column of a page, or as the page if the grid ``is_wide``.
    """

    columns: int = 3  # at most
    row_height: float = 2.3  # inches
    extra: float = 0.5  # height of the legend in inches
    share_x: Sharing = False
    share_y: Sharing = False
    x_label: str = ""
    y_label: str = ""
    is_wide: bool = False

    def draw(self, panels: Sequence[str]) -> tuple[Figure, dict[str, Axes]]:
        """Return a figure and the axes of each panel, titled by its name; a place without a name stays empty."""

        def at(rank: int) -> str:
            return panels[rank] if rank < len(panels) else ""

        columns = min(self.columns, len(panels))
        rows = -(-len(panels) // columns)
        figure = new_figure(rows, max(2, columns) if self.is_wide else columns, self.row_height, self.extra)
        axes = figure.subplots(rows, columns, sharex=self.share_x, sharey=self.share_y, squeeze=False)
        for rank, ax in enumerate(axes.flat):
            ax.set_visible(bool(at(rank)))
            if self.x_label and not at(rank + columns):
                ax.set_xlabel(self.x_label)
                ax.tick_params(labelbottom=True)
            if self.y_label and (rank % columns == 0 or not at(rank - 1)):
                ax.set_ylabel(self.y_label)
        named = {name: ax for name, ax in zip(panels, axes.flat, strict=False) if name}
        for name, ax in named.items():
            ax.set_title(literal(name))
            ax.set_label(name)  # by which the page recognises it
        return figure, named


def draw_settings(
    frames: Frames, rows: pd.DataFrame, name: str, title: str, draw: Callable[[Frames, pd.DataFrame], Parts], lack: str
) -> list[FigureResult]:
    """Draw the rows of each of the first ``MAX_SETTINGS`` settings, and name the rest in a figure that is not drawn.

    Without any rows there is one figure that is not drawn, for the reason ``lack``.
    """
    if rows.empty:
        return [NotDrawn(name, title, f"{lack} ({frames.counts_text})")]
    settings = setting_order(rows)
    results: list[FigureResult] = []
    for setting in settings[:MAX_SETTINGS]:
        own = rows[rows["setting"] == setting]
        results.append(finish(f"{name}_{own['slug'].iloc[0]}", f"{title}: {setting}", *draw(frames, own)))
    if rest := settings[MAX_SETTINGS:]:
        reason = f"drawn for the first {MAX_SETTINGS} settings only; the numbers of {', '.join(rest)} are in tables/"
        results.append(NotDrawn(f"{name}_more", f"{title}: further settings", reason))
    return results


def averages(seeds: pd.DataFrame, by: list[str], value: str, scale: Scale) -> pd.DataFrame:
    """Return the averages that suit an axis: geometric ones on a logarithmic axis (science.md)."""
    return geometric_mean(seeds, by, value) if scale == "log" else summarise(seeds, by, value)


def with_means(seeds: pd.DataFrame, by: list[str], scale: Scale = "linear") -> pd.DataFrame:
    """Return the rows as kind ``seed`` and the mean of ``value`` per group with its interval as kind ``mean``."""
    means = averages(seeds, by, "value", scale).rename(columns={"mean": "value"})
    both = pd.concat([seeds.assign(kind="seed"), means.assign(kind="mean")], ignore_index=True)
    return both.assign(scale=scale)


def bar_lengths(low: pd.Series, value: pd.Series, high: pd.Series) -> Array:
    """Return the lengths (2, n) of error bars below and above values, 0 where there is no interval."""
    return np.array([(value - low).fillna(0), (high - value).fillna(0)], dtype=float)


def average_text(row: Any) -> str:
    """Return the mean of a row with ``value``, ``low``, ``high``, ``num_seeds`` and ``scale``, for a caption."""
    if row["scale"] == "log":
        return between(row["value"], row["low"], row["high"], row["num_seeds"])
    return estimate(row["value"], row["high"], row["num_seeds"])


def lengths_text(cells: pd.DataFrame) -> str:
    """Return how long the cells were trained, empty if all took as many steps over as many images."""
    trained = cells[cells["steps"] > 0]
    pairs = zip(trained["source"], trained["num_train"], strict=True)
    sizes = [num_training(source, num_train) or np.nan for source, num_train in pairs]
    trained = trained.assign(epochs=trained["steps"] * trained["batch_size"] / np.array(sizes, float))
    if len(trained[["steps", "batch_size", "epochs"]].drop_duplicates()) < 2:
        return ""
    names = trained["student"] + " " + trained["paradigm"]
    if trained["setting"].nunique() > 1:
        names = names + ", " + trained["setting"]
    runs = []
    for (steps, batch, epochs), rows in trained.groupby(["steps", "batch_size", "epochs"], dropna=False):
        length = f"{epochs:.3g} epochs" if np.isfinite(epochs) else "fresh samples"
        runs.append(f"{steps:,} steps of {batch} images ({length}): {', '.join(names[rows.index].unique())}")
    return f"The runs differ in length: {listing(runs, 8)}."


def finite(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the rows with a finite value in a column."""
    return rows[np.isfinite(rows[column].astype(float))]


def hidden_text(names: Sequence[str]) -> str:
    """Return what a caption says of panels or rows that a page has no space for."""
    return f"Not shown for lack of space, but in the CSV: {', '.join(names)}." if names else ""


def finish(
    name: str, title: str, figure: Figure, data: pd.DataFrame, texts: Iterable[str], planned: pd.DataFrame
) -> Drawn:
    """Return a figure whose data and caption name the planned cells that are not drawn.

    Args:
        data: the plotted numbers, with ``cell_id``; a row of kind ``none`` is added per cell that is not drawn.
        texts: sentences of the caption; empty ones are left out.
        planned: rows of ``frames.cells`` that belong in the figure.
    """
    absent = planned[~planned["id"].isin(data["cell_id"].dropna())].drop_duplicates("id")
    lengths = lengths_text(planned[planned["id"].isin(data["cell_id"].dropna())])
    caption = [text for text in (*texts, lengths) if text]
    if len(absent):
        counts = [
            cite(f"{len(ids)} {_REASONS[outcome]}", ids)
            for outcome in OUTCOME_ORDER
            if len(ids := absent.loc[absent["outcome"] == outcome, "id"])
        ]
        total = planned["id"].nunique()
        caption.append(f"Not drawn, of the {total} cells that belong here: {', '.join(counts)}.")
        rows = absent[["id", "outcome", "seed"]].rename(columns={"id": "cell_id"}).assign(kind=NOT_DRAWN)
        data = pd.concat([data, rows.assign(series=absent["group"]) if "series" in data else rows], ignore_index=True)
    return Drawn(name, title, figure, data, " ".join(caption))
