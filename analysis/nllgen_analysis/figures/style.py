"""One style for every figure: size, fonts, colours and scales. No pyplot, no display."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import AutoMinorLocator, FixedLocator, NullFormatter, SymmetricalLogLocator

WIDTH_IN = 6.3  # the text width of an A4 page
COLUMN_IN = 3.4  # a column of a two-column page
MAX_SETTINGS = 7  # figures a family, as many as a built-in study has; more would be a gallery nobody reads
SYMLOG_TICKS = 5  # of an axis at most: its labels stand beside each other
MIN_TICK_APART = 0.08  # of the length of an axis: a label beside that of 0
GREY = "#7F7F7F"
# Okabe & Ito 2008: warm is under-, cold over-parameterised, black the truth's own architecture
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
}
LineStyle = Literal["-", "--", ":", "-."]
LINESTYLES: tuple[LineStyle, ...] = ("-", "--", ":", "-.")
MARKERS = ("o", "^", "s", "D", "v", "P")
_RC: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#E3E3E3",
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType: searchable, and accepted by journals
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same figure on every machine
    "text.usetex": False,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-4, 5),
}


@dataclass(frozen=True)
class Drawn:
    """A figure, the numbers in it and what they say.

    Attributes:
        name: of its files.
        title: a few words.
        figure: the drawing.
        data: the plotted numbers; ``cell_id`` names the cells behind them.
        caption: with numbers, and the cells behind them (``captions``).
    """

    name: str
    title: str
    figure: Figure
    data: pd.DataFrame
    caption: str

    @property
    def cell_ids(self) -> list[str]:
        """The cells behind the figure, in order of appearance."""
        ids = self.data["cell_id"] if "cell_id" in self.data else pd.Series(dtype=str)
        return [str(cell) for cell in ids.dropna().unique() if cell]


@dataclass(frozen=True)
class NotDrawn:
    """A figure whose data are missing, and why."""

    name: str
    title: str
    reason: str


FigureResult = Drawn | NotDrawn


@dataclass
class Notes:
    """Sentences that a caption collects while its figure is drawn."""

    sentences: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Add a sentence once."""
        if sentence and sentence not in self.sentences:
            self.sentences.append(sentence)

    def __str__(self) -> str:
        return " ".join(self.sentences)


@contextlib.contextmanager
def project_style() -> Iterator[None]:
    """The project's rcParams, restored at the end; a matplotlibrc of the user's does not leak in."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: dict[Any, Any] = {**sns.plotting_context("paper"), **sns.axes_style("ticks"), **_RC}
        matplotlib.rcParams.update(settings)
        yield


def new_figure(rows: int, columns: int, row_height: float = 2.3, extra: float = 0.5) -> Figure:
    """An empty figure of one page's width, of a column's for one panel; ``extra`` inches are for the legend."""
    width = WIDTH_IN if columns > 1 else COLUMN_IN
    return Figure(figsize=(width, rows * row_height + extra), layout="constrained")


def render(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of a ``png`` or ``pdf`` without dates: equal input, equal bytes."""
    buffer = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"CreationDate": None, "Creator": "nllgen", "Producer": None}
    with project_style():
        figure.savefig(buffer, format=kind, metadata=metadata)
        figure.set_layout_engine(None)  # laid out once is enough: half the time of the second format
    return buffer.getvalue()


def degree_colour(student: str) -> str:
    """The colour of a degree; what starts at the truth has that of W*."""
    return DEGREE_COLOURS["W*"] if student.endswith(" from truth") else DEGREE_COLOURS.get(student, GREY)


def paradigm_colour(paradigm: str) -> str:
    """The colour of a paradigm."""
    return PARADIGM_COLOURS.get(paradigm, GREY)


def legend_below(figure: Figure, handles: Iterable[Line2D]) -> None:
    """One legend for all panels, under them, where it covers nothing."""
    listed = list(handles)
    if not listed:
        return
    lengths = [len(str(handle.get_label())) + 6 for handle in listed]
    room = figure.get_figwidth() * 14  # characters of the legend's font in a line
    columns = len(listed) if sum(lengths) <= room else max(1, int(room / max(lengths)))
    figure.legend(handles=listed, loc="outside lower center", ncols=columns, handlelength=2.2, columnspacing=1.6)


def set_scale(ax: Axes, which: str, values: npt.ArrayLike) -> str:
    """Choose linear, log or symlog by the values: log over more than a factor of 30, symlog where some are ≤ 0.

    A symlog axis ends where the values do: the interval of a mean may reach far below 0 where one seed is thousands of
    times the others, and would take the room of everything else.

    Args:
        ax: the axes.
        which: ``x`` or ``y``.
        values: all that is drawn along it.

    Returns:
        The name of the scale, for the label.
    """
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    if not len(array):
        return "linear"
    size = np.abs(array)
    smallest = array.min() if array.min() > 0 else max(float(np.median(size)), 1e-12)
    if size.max() <= 30 * smallest:
        return "linear"
    choose = ax.set_xscale if which == "x" else ax.set_yscale
    if array.min() > 0:
        choose("log")
        (ax.xaxis if which == "x" else ax.yaxis).set_minor_formatter(NullFormatter())
        return "log"
    nonzero = size[size > 0]
    linthresh = 10.0 ** np.floor(np.log10(max(float(np.percentile(nonzero, 25)), 1e-9)))
    choose("symlog", linthresh=linthresh)
    axis = ax.xaxis if which == "x" else ax.yaxis
    locator = SymmetricalLogLocator(base=10, linthresh=linthresh)
    locator.set_params(numticks=SYMLOG_TICKS)
    transform = axis.get_transform()
    low, high = transform.transform([array.min(), array.max()])
    margin = 0.05 * (high - low)
    limits = transform.inverted().transform([low - margin, high + margin])
    (ax.set_xlim if which == "x" else ax.set_ylim)(*limits)
    ticks = np.asarray(locator.tick_values(*limits))
    # where the part around 0 is small, labels of the smallest powers would lie on that of 0
    apart = np.abs(transform.transform(ticks)) >= MIN_TICK_APART * (high - low)
    axis.set_major_locator(FixedLocator(ticks[apart | (ticks == 0)]))
    return "symlog"


def minor_ticks(ax: Axes, which: str) -> None:
    """Two minor intervals between major ticks of a linear axis."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    if axis.get_scale() == "linear":
        axis.set_minor_locator(AutoMinorLocator(2))


def without_startup(data: pd.DataFrame) -> pd.Series:
    """The values that an axis has to hold: all but each series' start-up transient.

    A value further than 3 interquartile ranges from its own series' quartiles is *far out* (Tukey 1977, §2D). Only in
    the first fifth of the training is that a transient; later it is a result, and stays.

    Args:
        data: columns panel, series, x, value.

    Returns:
        The kept part of ``value``, finite.
    """
    data = data[np.isfinite(data["value"])]
    groups = data.groupby(["panel", "series"])
    low, high = groups["value"].transform("quantile", 0.25), groups["value"].transform("quantile", 0.75)
    first, last = groups["x"].transform("min"), groups["x"].transform("max")
    far = (data["value"] < low - 3 * (high - low)) | (data["value"] > high + 3 * (high - low))
    return data.loc[~(far & (data["x"] < first + (last - first) / 5)), "value"]


def limited(settings: list[str], name: str, title: str) -> tuple[list[str], list[FigureResult]]:
    """At most ``MAX_SETTINGS`` settings, and for the rest a figure that says it was not drawn."""
    rest = settings[MAX_SETTINGS:]
    reason = f"drawn for the first {MAX_SETTINGS} settings only; the numbers of {', '.join(rest)} are in tables/"
    return settings[:MAX_SETTINGS], [NotDrawn(f"{name}_more", f"{title}: further settings", reason)] if rest else []
