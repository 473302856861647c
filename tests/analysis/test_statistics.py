"""Statistics against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from nllgen_analysis.statistics import NO_VALUE, ONE_SEED, mean_interval, paired, rank_correlation, summarise
from scipy import stats


def test_interval_of_three_values_is_the_textbook_one() -> None:
    # s = 1, t(0.975, 2) = 4.302652729696142
    result = mean_interval([1.0, 2.0, 3.0])
    assert result.mean == 2.0
    assert result.high - 2.0 == pytest.approx(4.302652729696142 / math.sqrt(3))
    assert 2.0 - result.low == pytest.approx(result.high - 2.0)


def test_interval_covers_at_its_level() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, (2000, 5))
    table = pd.DataFrame({"run": np.repeat(np.arange(2000), 5), "value": values.ravel()})
    result = summarise(table, ["run"], "value")
    assert ((result["low"] < 3.0) & (result["high"] > 3.0)).mean() == pytest.approx(0.95, abs=0.015)


def test_one_seed_has_no_interval_and_a_note() -> None:
    result = mean_interval([7.0])
    assert (result.mean, result.num_seeds, result.note) == (7.0, 1, ONE_SEED)
    assert math.isnan(result.low)
    assert math.isnan(result.high)


@pytest.mark.parametrize("values", [[], [float("nan")], [float("inf"), float("nan")]])
def test_no_finite_value_gives_nan_and_a_note(values: list[float]) -> None:
    result = mean_interval(values)
    assert math.isnan(result.mean)
    assert (result.num_seeds, result.note) == (0, NO_VALUE)


def test_values_that_are_not_finite_are_left_out_and_counted() -> None:
    table = pd.DataFrame({"group": ["a"] * 4, "value": [1.0, 3.0, float("inf"), float("nan")]})
    row = summarise(table, ["group"], "value").iloc[0]
    assert (row["mean"], row["num_seeds"], row["num_nonfinite"]) == (2.0, 2, 2)


def test_equal_seeds_have_an_interval_of_width_zero() -> None:
    result = mean_interval([4.0, 4.0, 4.0])
    assert (result.low, result.high) == (4.0, 4.0)


def test_pairs_are_matched_by_seed_and_the_unmatched_left_out() -> None:
    first = pd.DataFrame({"id": list("abcd"), "seed": [0, 1, 2, 3], "kl": [6.0, 9.0, float("nan"), 5.0]})
    second = pd.DataFrame({"id": list("efgh"), "seed": [1, 0, 2, 4], "kl": [3.0, 0.0, 1.0, 1.0]})
    result = paired(first, second, "kl", ["seed"]).set_index("seed")
    assert result["difference"].to_dict() == {0: 6.0, 1: 6.0}
    assert result.loc[1, "ratio"] == 3.0
    assert math.isnan(result.loc[0, "ratio"])
    assert result.loc[1, ["id_first", "id_second"]].tolist() == ["b", "e"]


def test_rank_correlation_depends_on_order_alone() -> None:
    x, seed = np.arange(1.0, 8.0), np.arange(7) % 2
    assert rank_correlation(x, np.exp(x), seed).rho == pytest.approx(1.0)
    assert rank_correlation(x, -(x**3), seed).rho == pytest.approx(-1.0)


def test_rank_correlation_has_an_interval_over_seeds() -> None:
    seed, group = (part.ravel() for part in np.meshgrid(np.arange(5), np.arange(4)))
    noise = np.random.default_rng(0).normal(0, 0.6, seed.size)
    result = rank_correlation(group, group + noise, seed)
    assert result.rho == pytest.approx(stats.spearmanr(group, group + noise).statistic)
    assert -1 <= result.low < result.rho < result.high <= 1
    # order within a seed is perfect, so that no resampling of seeds can lose it
    assert rank_correlation(group, group * 10.0, seed).low == pytest.approx(1.0)


def test_rank_correlation_of_one_seed_has_a_note_instead_of_an_interval() -> None:
    result = rank_correlation([1, 2, 3], [1, 3, 2], [0, 0, 0])
    assert (result.rho, result.num, result.note) == (0.5, 3, ONE_SEED)
    assert math.isnan(result.low)


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 2, 3], [5, 5, 5]), ([1, 2, float("nan")], [1, 2, 3])])
def test_rank_correlation_that_is_not_defined_is_nan(x: list[float], y: list[float]) -> None:
    assert math.isnan(rank_correlation(x, y, range(len(x))).rho)
