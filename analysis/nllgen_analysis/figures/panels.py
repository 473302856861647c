"""Parts that the families of figures share: grids of panels, a figure per setting, the cells that are not drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nllgen_analysis.figures.style import Drawn, FigureResult, NotDrawn, new_figure
from nllgen_analysis.frames import OUTCOME_ORDER, Frames, setting_order
from nllgen_analysis.statistics import summarise
from nllgen_analysis.text import cite

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
        """Return a figure and the axes of each panel, titled by its name."""
        columns = min(self.columns, len(panels))
        rows = -(-len(panels) // columns)
        figure = new_figure(rows, max(2, columns) if self.is_wide else columns, self.row_height, self.extra)
        axes = figure.subplots(rows, columns, sharex=self.share_x, sharey=self.share_y, squeeze=False)
        for rank, ax in enumerate(axes.flat):
            ax.set_visible(rank < len(panels))
            if self.x_label and rank + columns >= len(panels):
                ax.set_xlabel(self.x_label)
                ax.tick_params(labelbottom=True)
            if self.y_label and rank % columns == 0:
                ax.set_ylabel(self.y_label)
        named = dict(zip(panels, axes.flat, strict=False))
        for name, ax in named.items():
            ax.set_title(name)
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


def with_means(seeds: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the rows as kind ``seed`` and the mean of ``value`` per group with its interval as kind ``mean``."""
    means = summarise(seeds, by, "value").rename(columns={"mean": "value"})
    return pd.concat([seeds.assign(kind="seed"), means.assign(kind="mean")], ignore_index=True)


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
    caption = [text for text in texts if text]
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
