"""Scales, ticks and limits of axes, chosen by the values that are drawn."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import (
    AutoMinorLocator,
    FixedLocator,
    FuncFormatter,
    LogFormatterSciNotation,
    NullFormatter,
    SymmetricalLogLocator,
)

Scale = Literal["linear", "log", "symlog"]
LOG_TICKS = 5  # at most; with more decades every second or third has a label
SYMLOG_TICKS = 5  # at most, so that their labels do not overlap
MIN_TICK_DISTANCE = 0.08  # between 0 and the next labelled tick, as a share of the axis


def pad_limits(ax: Axes, values: npt.ArrayLike, share: float, least: float = 1.0) -> None:
    """Let the vertical axis end a share of the range of values beyond them; a range of zero counts as ``least``."""
    ax.set_ylim(*padded(values, share, least))


def padded(values: npt.ArrayLike, share: float, least: float = 1.0) -> tuple[float, float]:
    """Return limits a share of the range of values beyond them; a range of zero counts as ``least``."""
    array = np.asarray(values, dtype=float)
    margin = share * (float(np.ptp(array)) or least)
    return float(array.min()) - margin, float(array.max()) + margin


def scale_of(values: npt.ArrayLike, *, is_ratio: bool = False) -> Scale:
    """Return the scale of an axis for these values.

    It is logarithmic if positive values span more than a factor of 30, symlog if some are not positive. Values of a
    *ratio* scale, such as a divergence, have 0 as their lower bound: where they span decades, 0 is left out.
    """
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    if is_ratio and (array > 0).any():
        array = array[array > 0]
    if not len(array):
        return "linear"
    size = np.abs(array)
    smallest = array.min() if array.min() > 0 else max(float(np.median(size)), 1e-12)
    if size.max() <= 30 * smallest:
        return "linear"
    return "log" if array.min() > 0 else "symlog"


def set_scale(ax: Axes, which: str, values: npt.ArrayLike, *, is_ratio: bool = False) -> Scale:
    """Give an axis the scale of the values, :func:`scale_of`, and return it."""
    scale = scale_of(values, is_ratio=is_ratio)
    use_scale(ax, which, scale, values)
    return scale


def use_scale(ax: Axes, which: str, scale: Scale, values: npt.ArrayLike) -> None:
    """Set a scale. One that is not linear ends at the values: the interval of few seeds may reach far beyond them."""
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    if scale == "symlog":
        _set_symlog(ax, which, array)
    elif scale == "log":
        (ax.set_xscale if which == "x" else ax.set_yscale)("log", nonpositive="mask")
        low, high = np.log10([array[array > 0].min(), array.max()])
        margin = 0.06 * (high - low) or 0.1
        limit_log(ax, which, 10 ** (low - margin), 10 ** (high + margin))


def limit_log(ax: Axes, which: str, low: float, high: float) -> None:
    """Limit a logarithmic axis, with few enough labels that none overlaps the next."""
    (ax.set_xlim if which == "x" else ax.set_ylim)(low, high)
    axis = _axis(ax, which)
    first, last = int(np.ceil(np.log10(low))), int(np.floor(np.log10(high)))
    if last > first:
        every = -(-(last - first + 1) // LOG_TICKS)
        ticks = 10.0 ** np.arange(first, last + 1, every)
        axis.set_major_formatter(LogFormatterSciNotation())
    else:
        for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), np.arange(1, 10, 0.5), np.arange(1, 10, 0.1)):
            ticks = np.array([step * 10.0**power for power in range(first - 1, last + 1) for step in steps])
            ticks = ticks[(ticks >= low) & (ticks <= high)]
            if len(ticks) > 1:
                break
        ticks = ticks[:: -(-len(ticks) // LOG_TICKS)]
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_formatter(NullFormatter())


def mark_below(ax: Axes, which: str, places: npt.ArrayLike, colour: str) -> None:
    """Draw a triangle at the lower end of a logarithmic axis for each value of 0 or less, at its other coordinate."""
    array = np.asarray(places, dtype=float)
    if not len(array):
        return
    if which == "x":
        ax.plot(np.zeros(len(array)), array, "<", color=colour, markersize=4, transform=ax.get_yaxis_transform(),
                clip_on=False, zorder=4)  # fmt: skip
    else:
        ax.plot(array, np.zeros(len(array)), "v", color=colour, markersize=4, transform=ax.get_xaxis_transform(),
                clip_on=False, zorder=4)  # fmt: skip


def _set_symlog(ax: Axes, which: str, values: npt.NDArray[np.float64]) -> None:
    size = np.abs(values)
    linthresh = 10.0 ** np.floor(np.log10(max(float(np.percentile(size[size > 0], 25)), 1e-9)))
    (ax.set_xscale if which == "x" else ax.set_yscale)("symlog", linthresh=linthresh)
    axis = _axis(ax, which)
    locator = SymmetricalLogLocator(base=10, linthresh=linthresh)
    locator.set_params(numticks=SYMLOG_TICKS)
    transform = axis.get_transform()
    low, high = transform.transform([values.min(), values.max()])
    margin = 0.05 * (high - low)
    limits = transform.inverted().transform([low - margin, high + margin])
    (ax.set_xlim if which == "x" else ax.set_ylim)(*limits)
    ticks = np.asarray(locator.tick_values(*limits))
    # near 0 the labels of the smallest powers would overlap that of 0
    is_clear = np.abs(transform.transform(ticks)) >= MIN_TICK_DISTANCE * (high - low)
    axis.set_major_locator(FixedLocator(ticks[is_clear | (ticks == 0)]))
    ax.annotate(f"{which}: linear within ±{linthresh:,g}", (0.03, 0.97), xycoords="axes fraction", va="top",
                fontsize=6, color="#555555")  # fmt: skip


def _axis(ax: Axes, which: str) -> Axis:
    return ax.xaxis if which == "x" else ax.yaxis


def minor_ticks(ax: Axes, which: str) -> None:
    """Divide the major intervals of a linear axis in two."""
    axis = _axis(ax, which)
    if axis.get_scale() == "linear":
        axis.set_minor_locator(AutoMinorLocator(2))


def without_startup(data: pd.DataFrame) -> pd.Series:
    """Return the finite values that an axis has to show: all but each series' start-up transient.

    A value further than 3 interquartile ranges from the quartiles of its series is *far out* (Tukey 1977, §2D). It is a
    transient in the first fifth of the training only; later it is a result.
    """
    data = data[np.isfinite(data["value"])]
    groups = data.groupby(["panel", "series"])
    low, high = groups["value"].transform("quantile", 0.25), groups["value"].transform("quantile", 0.75)
    first, last = groups["x"].transform("min"), groups["x"].transform("max")
    far = (data["value"] < low - 3 * (high - low)) | (data["value"] > high + 3 * (high - low))
    return data.loc[~(far & (data["x"] < first + (last - first) / 5)), "value"]
