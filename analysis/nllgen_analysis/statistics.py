"""Means with t intervals over seeds, paired differences, rank correlation. Frame in, frame out; scipy computes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
ONE_SEED = "one seed, no interval"
NO_VALUE = "no finite value"


@dataclass(frozen=True)
class Interval:
    """A mean and its t interval.

    Attributes:
        mean, low, high: NaN where they do not exist: the limits need two values.
        num_seeds: finite values behind them.
        note: why there is no interval, or empty.
    """

    mean: float
    low: float
    high: float
    num_seeds: int
    note: str


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ of ``num`` finite pairs; NaN for fewer than three, or where one side is constant."""

    rho: float
    num: int


def summarise(frame: pd.DataFrame, by: list[str], value: str, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Mean and t interval of a column within groups of rows, one row a seed.

    Args:
        frame: long form.
        by: columns that name a group.
        value: column to average; values that are not finite are left out and counted.
        confidence: coverage of the interval under normality.

    Returns:
        One row a group in order of appearance: ``by``, mean, low, high, num_seeds (finite), num_nonfinite, note.
    """
    finite = frame[by].assign(_value=frame[value].astype(float).where(np.isfinite(frame[value].astype(float))))
    groups = finite.groupby(by, sort=False, dropna=False)["_value"]
    table = groups.agg(["mean", "std", "count", "size"]).reset_index()
    count = table["count"].to_numpy()
    half = half_width(table["std"].to_numpy(), count, confidence)
    return table[by].assign(
        mean=table["mean"],
        low=table["mean"] - half,
        high=table["mean"] + half,
        num_seeds=count,
        num_nonfinite=table["size"] - count,
        note=np.select([count == 0, count == 1], [NO_VALUE, ONE_SEED], ""),
    )


def mean_interval(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Mean and t interval of values, one a seed; those that are not finite are left out."""
    array = np.asarray(values, dtype=float).ravel()
    finite = array[np.isfinite(array)]
    count = len(finite)
    if count == 0:
        return Interval(np.nan, np.nan, np.nan, 0, NO_VALUE)
    mean = float(finite.mean())
    std = finite.std(ddof=1) if count > 1 else np.nan
    half = float(half_width(np.array([std]), np.array([count]), confidence)[0])
    return Interval(mean, mean - half, mean + half, count, ONE_SEED if count == 1 else "")


def half_width(
    std: npt.NDArray[np.float64], count: npt.NDArray[np.int64], confidence: float
) -> npt.NDArray[np.float64]:
    """Half of a t interval: the quantile times std / √count; NaN where there are fewer than two values.

    Args:
        std: (G,) with one degree of freedom taken off.
        count: (G,) values behind each.
        confidence: coverage under normality.
    """
    half = np.full(len(count), np.nan)
    several = count > 1
    quantile = stats.t.ppf((1 + confidence) / 2, count[several] - 1)
    half[several] = quantile * std[several] / np.sqrt(count[several])
    return half


def paired(first: pd.DataFrame, second: pd.DataFrame, value: str, on: list[str]) -> pd.DataFrame:
    """Rows of two frames that belong together, with the difference and the ratio first : second.

    Args:
        first: one row a cell.
        second: likewise.
        value: the compared column.
        on: columns that must agree, the seed among them.

    Returns:
        ``on``, first, second, difference, ratio (NaN where second is 0); rows without a finite partner are left out.
    """
    pairs = pd.merge(
        first[[*on, value]].rename(columns={value: "first"}),
        second[[*on, value]].rename(columns={value: "second"}),
        on=on,
    )
    pairs = pairs[np.isfinite(pairs["first"]) & np.isfinite(pairs["second"])].reset_index(drop=True)
    pairs["difference"] = pairs["first"] - pairs["second"]
    pairs["ratio"] = pairs["first"] / pairs["second"].where(pairs["second"] != 0)
    return pairs


def rank_correlation(x: npt.ArrayLike, y: npt.ArrayLike) -> RankCorrelation:
    """Spearman's rank correlation of the pairs that are finite on both sides."""
    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    finite = np.isfinite(first) & np.isfinite(second)
    first, second = first[finite], second[finite]
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return RankCorrelation(float("nan"), len(first))
    return RankCorrelation(float(stats.spearmanr(first, second).statistic), len(first))
