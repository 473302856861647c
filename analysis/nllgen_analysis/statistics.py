"""Means with t intervals over seeds, paired differences and rank correlation, computed by scipy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
NUM_RESAMPLES = 999
ONE_SEED = "one seed, no interval"
NO_VALUE = "no finite value"
NOT_POSITIVE = "a value of 0 or less, no geometric mean"
MAX_LOG = 700.0  # its exponential is finite


@dataclass(frozen=True)
class Interval:
    """The mean of the finite values and its t interval; a number that does not exist is NaN, and ``note`` says why."""

    mean: float
    low: float
    high: float
    num_seeds: int
    note: str


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ of the finite pairs and its bootstrap interval; a number that does not exist is NaN."""

    rho: float
    low: float
    high: float
    num: int
    note: str


def log(value: float) -> float:
    """Return the natural logarithm; ∞ stays, and what is not positive has none."""
    return math.log(value) if value > 0 else math.nan


def log_ratio(first: float, second: float) -> float:
    """Return ln(first / second), NaN unless both are positive."""
    return math.log(first / second) if first > 0 and second > 0 else math.nan


def summarise(frame: pd.DataFrame, by: list[str], value: str, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Return the mean and t interval of a column within groups of rows, one row per seed.

    Returns:
        One row per group in order of appearance: ``by``, mean, low, high, num_seeds (finite), num_nonfinite, note.
    """
    finite = frame[by].assign(_value=frame[value].astype(float).where(np.isfinite(frame[value].astype(float))))
    groups = finite.groupby(by, sort=False, dropna=False)["_value"]
    table = groups.agg(["mean", "sem", "count", "size"]).reset_index()
    count = table["count"].to_numpy()
    half = half_width(table["sem"].to_numpy(), count, confidence)
    return table[by].assign(
        mean=table["mean"],
        low=table["mean"] - half,
        high=table["mean"] + half,
        num_seeds=count,
        num_nonfinite=table["size"] - count,
        note=np.select([count == 0, count == 1], [NO_VALUE, ONE_SEED], ""),
    )


def geometric_mean(frame: pd.DataFrame, by: list[str], value: str, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Return the geometric mean and the interval of the logarithms, in the columns of :func:`summarise`.

    A group with a value of 0 or less has neither. If no value is positive, the mean is the arithmetic one.
    """
    values = frame[value].astype(float)
    table = summarise(frame.assign(_log=np.log(values.where(values > 0))), by, "_log", confidence)
    arithmetic = summarise(frame, by, value, confidence)
    is_lost = arithmetic["num_seeds"] > table["num_seeds"]
    has_none = is_lost & (table["num_seeds"] == 0)
    for column in ("mean", "low", "high"):
        table[column] = np.exp(table[column].clip(-MAX_LOG, MAX_LOG)).where(~is_lost)
    table["mean"] = table["mean"].where(~has_none, arithmetic["mean"])
    counts = arithmetic[["num_seeds", "num_nonfinite"]]
    return table.assign(**counts, note=table["note"].where(~is_lost, NOT_POSITIVE))


def typical_mean(frame: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Return geometric means, which one seed of a thousand times the others' value does not decide.

    A group in which a value is not positive, as an estimate of a KL near 0, has its arithmetic mean and interval.
    """
    geometric = geometric_mean(frame, by, value)
    return summarise(frame, by, value).where(geometric["note"] == NOT_POSITIVE, geometric)


def mean_interval(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean and t interval of one value per seed; values that are not finite are left out."""
    array = np.asarray(values, dtype=float).ravel()
    finite = array[np.isfinite(array)]
    count = len(finite)
    if count == 0:
        return Interval(np.nan, np.nan, np.nan, 0, NO_VALUE)
    mean = float(finite.mean())
    error = stats.sem(finite) if count > 1 else np.nan
    half = float(half_width(np.array([error]), np.array([count]), confidence)[0])
    return Interval(mean, mean - half, mean + half, count, ONE_SEED if count == 1 else "")


def welch_interval(first: npt.ArrayLike, second: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Return the difference of two means and its interval without pairs, at unequal variances (Welch 1947)."""
    groups = [np.asarray(values, dtype=float).ravel() for values in (first, second)]
    groups = [values[np.isfinite(values)] for values in groups]
    counts = [len(values) for values in groups]
    if not all(counts):
        return Interval(np.nan, np.nan, np.nan, min(counts), NO_VALUE)
    mean = float(groups[0].mean() - groups[1].mean())
    if min(counts) == 1:
        return Interval(mean, np.nan, np.nan, 1, ONE_SEED)
    parts = [float(values.var(ddof=1)) / len(values) for values in groups]
    error = math.sqrt(sum(parts))
    degrees = sum(parts) ** 2 / sum(part**2 / (n - 1) for part, n in zip(parts, counts, strict=True)) if error else 1
    half = float(stats.t.ppf((1 + confidence) / 2, degrees)) * error
    return Interval(mean, mean - half, mean + half, min(counts), "")


def exponential(interval: Interval) -> Interval:
    """Return the geometric mean, or a ratio, of which an interval is in logarithms."""
    mean, low, high = (math.exp(min(max(value, -MAX_LOG), MAX_LOG)) if math.isfinite(value) else value
                       for value in (interval.mean, interval.low, interval.high))  # fmt: skip
    return Interval(mean, low, high, interval.num_seeds, interval.note)


def half_width(
    error: npt.NDArray[np.float64], count: npt.NDArray[np.int64], confidence: float
) -> npt.NDArray[np.float64]:
    """Return half of the t intervals (G,) of standard errors (G,) over ``count`` values, NaN for fewer than two.

    A standard error of 0 gives an interval of no width, unlike ``scipy.stats.t.interval``.
    """
    several = count > 1
    quantile = stats.t.ppf((1 + confidence) / 2, np.where(several, count - 1, 1))
    return np.where(several, quantile * error, np.nan)


def t_p_value(values: npt.ArrayLike, threshold: float = 0.0) -> float:
    """Return the two-sided p-value of a t test of the mean of finite values; NaN for fewer than two."""
    array = np.asarray(values, dtype=float).ravel()
    if len(array) < 2:
        return np.nan
    distance, error = abs(array.mean() - threshold), stats.sem(array)
    if error == 0:  # a statistic of ∞, or 0/0 at the threshold
        return float(distance == 0)
    return float(2 * stats.t.sf(distance / error, len(array) - 1))


def sign_p_value(count: int, total: int, share: float = 0.5) -> float:
    """Return the one-sided p-value of ``count`` or more out of ``total`` where each has the probability ``share``."""
    return float(stats.binom.sf(count - 1, total, share))


def lower_share(count: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided Clopper–Pearson lower bound of a share (Clopper & Pearson 1934)."""
    return float(stats.beta.ppf(1 - confidence, count, total - count + 1)) if count else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm (1979); NaN counts as 1 and stays NaN."""
    order = sorted(range(len(p_values)), key=lambda i: np.inf if np.isnan(p_values[i]) else p_values[i])
    corrected, largest = list(p_values), 0.0
    for rank, i in enumerate(order):
        if not np.isnan(p_values[i]):
            largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
            corrected[i] = largest
    return corrected


def interquartile(frame: pd.DataFrame, by: list[str], value: str, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Return the mean of the middle half of each group with a percentile bootstrap interval over seeds.

    A quarter of the values is left out at each end, rounded down: one of five seeds, none of three. The interval is
    descriptive; with few seeds it covers less than its confidence.

    Returns:
        One row per group: ``by``, iqm, iqm_low, iqm_high (NaN for fewer than two finite values).
    """
    finite = frame[np.isfinite(frame[value].astype(float))]
    every = frame[by].drop_duplicates()
    if finite.empty:
        return every.assign(iqm=np.nan, iqm_low=np.nan, iqm_high=np.nan)
    lists = finite.groupby(by, sort=False, dropna=False)[value].agg(list).reset_index()
    table = lists[by].assign(iqm=np.nan, iqm_low=np.nan, iqm_high=np.nan)
    lengths = lists[value].str.len()
    for length in lengths.unique():
        rows = lengths.index[lengths == length]
        values = np.array(lists.loc[rows, value].tolist(), dtype=float)
        table.loc[rows, "iqm"] = stats.trim_mean(values, 0.25, axis=-1)
        if length > 1:
            low, high = _bootstrap(values, _middle_mean, confidence, vectorized=True)
            table.loc[rows, "iqm_low"], table.loc[rows, "iqm_high"] = low, high
    return every.merge(table, on=by, how="left")


def _middle_mean(values: npt.NDArray[np.float64], axis: int = -1) -> npt.NDArray[np.float64]:
    return np.asarray(stats.trim_mean(values, 0.25, axis=axis))


def paired(
    first: pd.DataFrame, second: pd.DataFrame, value: str, on: list[str], keep: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Match cells of two frames that agree in the columns ``on``, and compare their ``value``.

    Returns:
        ``on``, ``keep`` (further columns of ``first``), first, second, id_first, id_second, difference first − second,
        ratio first / second (NaN if second is 0); rows without a finite partner are left out.
    """
    pairs = pd.merge(
        first[[*on, *keep, "id", value]].rename(columns={value: "first"}),
        second[[*on, "id", value]].rename(columns={value: "second"}),
        on=on,
        suffixes=("_first", "_second"),
    )
    pairs = pairs[np.isfinite(pairs["first"]) & np.isfinite(pairs["second"])].reset_index(drop=True)
    pairs["difference"] = pairs["first"] - pairs["second"]
    pairs["ratio"] = pairs["first"] / pairs["second"].where(pairs["second"] != 0)
    return pairs


def rank_correlation(
    x: npt.ArrayLike, y: npt.ArrayLike, seed: npt.ArrayLike, confidence: float = CONFIDENCE
) -> RankCorrelation:
    """Return Spearman's rank correlation over cells with a percentile bootstrap interval over seeds.

    The bootstrap draws whole seeds, as cells of one seed share their data. The interval is descriptive: it is
    conditional on the groups, and too narrow with few seeds. ``x``, ``y`` and ``seed`` are (n,), a value per cell.
    """
    table = pd.DataFrame({"x": np.asarray(x, float), "y": np.asarray(y, float), "seed": np.asarray(seed)})
    table = table[np.isfinite(table["x"]) & np.isfinite(table["y"])]
    if len(table) < 3 or table["x"].nunique() == 1 or table["y"].nunique() == 1:
        return RankCorrelation(np.nan, np.nan, np.nan, len(table), "not defined")
    rho = float(stats.spearmanr(table["x"], table["y"]).statistic)
    parts = [part[["x", "y"]].to_numpy() for _, part in table.groupby("seed")]
    if len(parts) == 1:
        return RankCorrelation(rho, np.nan, np.nan, len(table), ONE_SEED)

    def resampled(drawn: npt.NDArray[np.int64]) -> float:
        pairs = np.concatenate([parts[index] for index in drawn])
        defined = len(pairs) > 2 and (np.ptp(pairs, axis=0) > 0).all()
        return float(stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic) if defined else rho

    low, high = _bootstrap(np.arange(len(parts)), resampled, confidence, vectorized=False)
    return RankCorrelation(rho, float(low), float(high), len(table), "")


def _bootstrap(values: npt.NDArray[Any], statistic: Callable[..., Any], confidence: float, vectorized: bool) -> Any:
    """Return the percentile interval of a statistic along the last axis; equal values give equal intervals."""
    return stats.bootstrap(
        (values,), statistic, n_resamples=NUM_RESAMPLES, batch=100, vectorized=vectorized, axis=-1,
        confidence_level=confidence, method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
