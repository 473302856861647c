"""Scales, ticks and limits of axes, chosen by the values that are drawn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import AutoMinorLocator, FixedLocator, NullFormatter, SymmetricalLogLocator

SYMLOG_TICKS = 5  # at most, so that their labels do not overlap
MIN_TICK_DISTANCE = 0.08  # between 0 and the next labelled tick, as a share of the axis


def pad_limits(ax: Axes, values: npt.ArrayLike, share: float, least: float = 1.0) -> None:
    """Let the vertical axis end a share of the range of values beyond them; a range of zero counts as ``least``."""
    array = np.asarray(values, dtype=float)
    margin = share * (float(np.ptp(array)) or least)
    ax.set_ylim(array.min() - margin, array.max() + margin)


def set_scale(ax: Axes, which: str, values: npt.ArrayLike) -> str:
    """Set a linear, logarithmic or symlog scale by the values.

    The scale is logarithmic if positive values span more than a factor of 30, symlog if some are not positive. A symlog
    axis ends at the values: the interval of a mean reaches far below 0 if one seed is thousands of times the others.

    Returns:
        ``linear``, ``log`` or ``symlog``.
    """
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    if not len(array):
        return "linear"
    size = np.abs(array)
    smallest = array.min() if array.min() > 0 else max(float(np.median(size)), 1e-12)
    if size.max() <= 30 * smallest:
        return "linear"
    if array.min() <= 0:
        _set_symlog(ax, which, array)
        return "symlog"
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    _axis(ax, which).set_minor_formatter(NullFormatter())
    return "log"


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
