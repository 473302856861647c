"""Size, fonts, colours and legends of every figure. Needs neither pyplot nor a display."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

WIDTH_IN = 6.3  # the text width of an A4 page
COLUMN_IN = 3.4  # a column of a two-column page
GREY = "#7F7F7F"
DARK_GREY = "#444444"  # of legend keys that stand for a marker and not for a colour
# Okabe & Ito 2008: warm is under-parameterised, cold is over-parameterised, black has the truth's architecture
DEGREE_COLOURS = {
    "U3": "#CC79A7",
    "U2": "#D55E00",
    "U1": "#E69F00",
    "W": "#000000",
    "W*": "#009E73",
    "O1": "#56B4E9",
    "O2": "#0072B2",
    "custom": "#8C564B",
    "truth": GREY,
}
PARADIGM_COLOURS = {
    "nll": "#0072B2",
    "nsgan": "#D55E00",
    "hybrid": "#009E73",
    "wgan_gp": "#CC79A7",
    "nsgan_oracle": "#E69F00",
    "r3gan": "#56B4E9",
    "noise": "#8C564B",
}
LineStyle = Literal["-", "--", ":", "-.", ""]
LINESTYLES: tuple[LineStyle, ...] = ("-", "--", ":", "-.")
# feature extractor → its name in titles and labels
EXTRACTORS = {"lenet": "LeNet", "inception": "Inception"}
MARKERS = ("o", "^", "s", "D", "v", "P")
# beside seaborn's context "paper" and style "ticks"
_RC: dict[str, Any] = {
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize"), 7),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("xtick.minor.width", "ytick.minor.width", "grid.linewidth"), 0.4),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 3),
    **dict.fromkeys(("xtick.minor.size", "ytick.minor.size"), 1.5),
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType: searchable, and accepted by journals
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same figure on every machine
    "savefig.dpi": 200,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-4, 5),
}


@dataclass(frozen=True)
class Drawn:
    """A figure with its data and its caption, which cites cells as ``text.cite`` does."""

    name: str  # stem of its files
    title: str
    figure: Figure
    data: pd.DataFrame  # the plotted numbers; cell_id names the cells behind them
    caption: str

    @property
    def cell_ids(self) -> list[str]:
        """Return the ids of the cells behind the figure in order of appearance."""
        ids = self.data["cell_id"] if "cell_id" in self.data else pd.Series(dtype=str)
        return [str(cell) for cell in ids.dropna().unique() if cell]


@dataclass(frozen=True)
class NotDrawn:
    """A figure without data, and the reason."""

    name: str
    title: str
    reason: str


FigureResult = Drawn | NotDrawn


@contextlib.contextmanager
def project_style() -> Iterator[None]:
    """Set the project's rcParams and restore the old ones at the end; ignore the user's matplotlibrc."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: dict[Any, Any] = {**sns.plotting_context("paper"), **sns.axes_style("ticks"), **_RC}
        matplotlib.rcParams.update(settings)
        yield


def new_figure(rows: int, columns: int, row_height: float = 2.3, extra: float = 0.5) -> Figure:
    """Create an empty figure as wide as a page, or as a column if it has one panel; heights are in inches."""
    width = WIDTH_IN if columns > 1 else COLUMN_IN
    return Figure(figsize=(width, rows * row_height + extra), layout="constrained")


def render(figure: Figure, kind: str) -> bytes:
    """Return the figure as a ``png`` or ``pdf`` file without dates: equal figures give equal bytes."""
    buffer = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"CreationDate": None, "Creator": "nllgen", "Producer": None}
    with project_style():
        figure.savefig(buffer, format=kind, metadata=metadata)
        figure.set_layout_engine(None)  # one layout serves both formats and halves the time of the second
    return buffer.getvalue()


def degree_colour(student: str) -> str:
    """Return the colour of a degree; a student that starts at the truth has the colour of W*."""
    return DEGREE_COLOURS["W*"] if student.endswith(" from truth") else DEGREE_COLOURS.get(student, GREY)


def paradigm_colour(paradigm: str) -> str:
    """Return the colour of a paradigm, grey if it is unknown."""
    return PARADIGM_COLOURS.get(paradigm, GREY)


def frechet_label(extractor: str) -> str:
    """Return the axis label of a Fréchet distance."""
    return f"Fréchet distance\n({EXTRACTORS[extractor]} features, unitless)"


def marker_key(
    label: str, colour: str, marker: str = "o", *, size: float = 4, face: str | None = None, linestyle: LineStyle = ""
) -> Line2D:
    """Return a legend key with a marker; ``face`` fills it, by default with its colour."""
    return Line2D([], [], color=colour, marker=marker, markerfacecolor=face, linestyle=linestyle, markersize=size,
                  label=label)  # fmt: skip


def line_key(label: str, colour: str, linestyle: LineStyle = "-") -> Line2D:
    """Return a legend key with a line."""
    return Line2D([], [], color=colour, linestyle=linestyle, label=label)


def legend_below(figure: Figure, handles: Iterable[Line2D]) -> None:
    """Place one legend for all panels below them."""
    listed = list(handles)
    if not listed:
        return
    lengths = [len(str(handle.get_label())) + 6 for handle in listed]
    line_length = figure.get_figwidth() * 14  # characters of the legend's font
    columns = len(listed) if sum(lengths) <= line_length else max(1, int(line_length / max(lengths)))
    figure.legend(handles=listed, loc="outside lower center", ncols=columns, handlelength=2.2, columnspacing=1.6)


def reference_line(ax: Axes, level: float) -> None:
    """Draw a dashed grey horizontal line behind the data."""
    ax.axhline(level, color=GREY, linewidth=0.9, linestyle=(0, (5, 2)), zorder=0)


def floor_line(ax: Axes, level: float) -> None:
    """Draw the floor of a Fréchet distance as a dotted grey line behind the data."""
    ax.axhline(level, color=GREY, linestyle=":", linewidth=1.2, zorder=0)
