"""Effects that the rules can see, against exact results."""

from __future__ import annotations

import pytest
from nllgen_analysis.claims.power import visible_effect, visible_share
from nllgen_analysis.statistics import holm, lower_share, sign_p_value, t_p_value
from scipy import stats


@pytest.mark.parametrize("num_seeds", [5, 10])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_the_effect_that_is_seen_is_that_of_the_noncentral_t(num_seeds: int, confidence: float) -> None:
    effect = visible_effect(2.0, num_seeds, confidence)
    quantile = stats.t.ppf((1 + confidence) / 2, num_seeds - 1)
    assert stats.nct.sf(quantile, num_seeds - 1, effect / 2 * num_seeds**0.5) == pytest.approx(0.8, abs=0.01)


def test_the_share_that_is_seen_is_that_of_the_binomial() -> None:
    assert visible_share(5, 0.5) == pytest.approx(0.8 ** (1 / 5), abs=0.002)
    share = visible_share(10, 0.5)
    assert stats.binom.sf(8, 10, share) >= 0.8 > stats.binom.sf(8, 10, share - 0.002)


def test_nine_of_ten_is_the_least_share_above_a_half() -> None:
    assert lower_share(9, 10) > 0.5 > lower_share(8, 10)
    assert lower_share(9, 10) == pytest.approx(stats.binomtest(9, 10, alternative="greater").proportion_ci(0.95).low)
    assert lower_share(0, 5) == 0
    assert sign_p_value(9, 10) == pytest.approx(stats.binomtest(9, 10, alternative="greater").pvalue)


def test_p_values_of_means_are_those_of_scipy() -> None:
    values = [1.0, 2.0, 4.0, 3.5]
    assert t_p_value(values, 1.0) == pytest.approx(stats.ttest_1samp(values, 1.0).pvalue)
    assert (t_p_value([2.0, 2.0], 1.0), t_p_value([1.0, 1.0], 1.0)) == (0.0, 1.0)


def test_holm_is_that_of_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    nan = float("nan")
    assert holm([0.01, nan, nan]) == pytest.approx([0.03, nan, nan], nan_ok=True)
