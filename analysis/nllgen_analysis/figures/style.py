"""Size, fonts, colours and legends of every figure. Needs neither pyplot nor a display."""

from __future__ import annotations

import contextlib
import io
import itertools
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nllgen_analysis.cells_frame import STARTED_AT_TRUTH

WIDTH_IN = 6.3  # the text width of an A4 page
COLUMN_IN = 3.4  # a column of a two-column page
PAPER = "#FFFFFF"  # behind every panel
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
FROM_TRUTH = "#6A3D9A"  # a student that starts at the truth's weights and is trained, unlike W*
PARADIGM_COLOURS = {
    "nll": "#0072B2",
    "nsgan": "#D55E00",
    "hybrid": "#009E73",
    "wgan_gp": "#CC79A7",
    "nsgan_oracle": "#E69F00",
    "r3gan": "#56B4E9",
    "noise": "#8C564B",
}
LEGEND_LINES = 3  # for which a figure has space below its panels; more make it higher
LEGEND_LINE_IN = 0.15
LineStyle = Literal["-", "--", ":", "-.", ""]
FileKind = Literal["png", "pdf", "svg"]
_METADATA: dict[FileKind, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": "nllgen", "Producer": None},
    "svg": {"Date": None, "Creator": None},
}
LINESTYLES: tuple[LineStyle, ...] = ("-", "--", ":", "-.")
# feature extractor → its name in titles and labels
EXTRACTORS = {"lenet": "LeNet", "inception": "Inception"}
# Tol 2021, muted: of further arms of a degree or paradigm
MORE_COLOURS = ("#332288", "#882255", "#44AA99", "#999933", "#117733", "#AA4499", "#661100", "#88CCEE", "#DDCC77")
MIN_DISTANCE = 0.22  # in RGB, of colours that are told apart
NUM_FURTHER = 60  # colours that are tried for an arm
PARADIGM_MARKERS = {
    "nll": "^",
    "nsgan": "s",
    "hybrid": "o",
    "wgan_gp": "D",
    "nsgan_oracle": "P",
    "r3gan": "v",
    "noise": "X",
}
_MORE_MARKERS = ("<", ">", "p", "h", "*", "d")  # of paradigms of other packages, chosen by their names
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
    "svg.hashsalt": "nllgen",  # ids by content: equal figures give equal bytes
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


def render(figure: Figure, kind: FileKind) -> bytes:
    """Return the figure as a file without dates: equal figures give equal bytes."""
    buffer = io.BytesIO()
    with project_style():
        figure.savefig(buffer, format=kind, metadata=_METADATA[kind])
        figure.set_layout_engine(None)  # one layout serves both formats and halves the time of the second
    return buffer.getvalue()


def degree_colour(student: str) -> str:
    """Return the colour of a degree; a student that is trained from the truth has another than W*."""
    return FROM_TRUTH if student.endswith(STARTED_AT_TRUTH) else DEGREE_COLOURS.get(student, GREY)


def paradigm_colour(paradigm: str) -> str:
    """Return the colour of a paradigm; that of another package's follows from its name."""
    return PARADIGM_COLOURS.get(paradigm) or _by_name(MORE_COLOURS, paradigm)


def paradigm_marker(paradigm: str) -> str:
    """Return the marker of a paradigm, the same in every report; that of another package's follows from its name."""
    return PARADIGM_MARKERS.get(paradigm) or _by_name(_MORE_MARKERS, paradigm)


def _by_name(choices: tuple[str, ...], name: str) -> str:
    return choices[zlib.crc32(name.encode()) % len(choices)]


def arm_colours(bases: Mapping[str, str]) -> dict[str, str]:
    """Return a colour of its own per arm: its base colour, or a shade of it where an arm before it has that."""
    colours: dict[str, str] = {}
    for arm, base in bases.items():
        if to_hex(base) not in colours.values():
            colours[arm] = to_hex(base)
            continue
        used = [PAPER, *colours.values(), *bases.values()]
        tried = {colour: _distance(colour, used) for colour in itertools.islice(_further(base), NUM_FURTHER)}
        far = (colour for colour, distance in tried.items() if distance > MIN_DISTANCE)
        farthest = max(tried, key=tried.__getitem__)
        free = farthest if tried[farthest] > 0 else next(c for c in _further(base) if _distance(c, used) > 0)
        colours[arm] = next(far, free)
    return colours


def _distance(colour: str, others: Iterable[str]) -> float:
    """Return the distance in RGB to the nearest of other colours."""
    return float(min(np.linalg.norm(np.subtract(to_rgb(colour), to_rgb(other))) for other in others))


def _further(colour: str) -> Iterator[str]:
    """Yield a darker and a lighter shade of a colour, other colours and their shades, then finer shades without end."""
    yield from _shades(colour, 0.5)
    yield from MORE_COLOURS
    for other in MORE_COLOURS:
        yield from _shades(other, 0.5)
    for rank in itertools.count():
        yield from _shades(colour, 0.1 + rank * 0.0618 % 0.8)


def _shades(colour: str, share: float) -> Iterator[str]:
    """Yield a colour that is mixed with black, then with white."""
    for target in (0.0, 1.0):
        red, green, blue = (float((1 - share) * value + share * target) for value in to_rgb(colour))
        yield to_hex((red, green, blue))


def frechet_label(extractor: str) -> str:
    """Return the axis label of a Fréchet distance."""
    return f"Fréchet distance\n({EXTRACTORS[extractor]} features, unitless)"


def literal(text: str) -> str:
    """Return a text of the study as it is written in a figure: between dollars matplotlib would read mathematics."""
    return text.replace("$", r"\$")


def marker_key(
    label: str, colour: str, marker: str = "o", *, size: float = 4, face: str | None = None, linestyle: LineStyle = ""
) -> Line2D:
    """Return a legend key with a marker; ``face`` fills it, by default with its colour."""
    return Line2D([], [], color=colour, marker=marker, markerfacecolor=face, linestyle=linestyle, markersize=size,
                  label=literal(label))  # fmt: skip


def line_key(label: str, colour: str, linestyle: LineStyle = "-") -> Line2D:
    """Return a legend key with a line."""
    return Line2D([], [], color=colour, linestyle=linestyle, label=literal(label))


def legend_below(figure: Figure, handles: Iterable[Line2D]) -> None:
    """Place one legend for all panels below them."""
    listed = list(handles)
    if not listed:
        return
    lengths = [max(map(len, str(handle.get_label()).split("\n"))) + 6 for handle in listed]
    line_length = figure.get_figwidth() * 14  # characters of the legend's font
    columns = len(listed) if sum(lengths) <= line_length else max(1, int(line_length / max(lengths)))
    num_lines = -(-sum(1 + str(handle.get_label()).count("\n") for handle in listed) // columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE_IN * max(0, num_lines - LEGEND_LINES))
    figure.legend(handles=listed, loc="outside lower center", ncols=columns, handlelength=2.2, columnspacing=1.6)


def reference_line(ax: Axes, level: float) -> None:
    """Draw a dashed grey horizontal line behind the data."""
    ax.axhline(level, color=GREY, linewidth=0.9, linestyle=(0, (5, 2)), zorder=0)


def floor_line(ax: Axes, level: float) -> None:
    """Draw the floor of a Fréchet distance as a dotted grey line behind the data."""
    ax.axhline(level, color=GREY, linestyle=":", linewidth=1.2, zorder=0)
