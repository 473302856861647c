"""Version 1: C3 to C6, on misspecification and finite data, in studies with known verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nllgen.storage.hdf5_data import Array
from nllgen.study.config import Cell
from tests.analysis.claims_known import JITTER, LADDER, ORDERED, BySeed, degrees, ends
from tests.analysis.claims_known import finding1 as finding
from tests.analysis.conftest import STEPS, Override, make_cell

# C3


def test_c3_is_supported_by_the_whole_order() -> None:
    result = finding("C3", degrees(*LADDER), ends(ORDERED))
    assert result.verdict == "supported"
    assert [part.label for part in result.parts] == ["U2 − U1", "U1 − W", "W − O1", "O1 − O2"]


def test_c3_intervals_are_those_of_scipy_with_bonferroni() -> None:
    part = finding("C3", degrees(*LADDER), ends(ORDERED)).parts[0]
    differences = 10 + np.subtract(JITTER["U2"], JITTER["U1"])
    interval = stats.ttest_1samp(differences, 0).confidence_interval(1 - 0.05 / 4)
    assert (part.effect, part.low, part.high) == pytest.approx((differences.mean(), *interval))
    assert part.confidence == pytest.approx(0.9875)


def test_c3_is_refuted_by_one_reversed_step() -> None:
    result = finding("C3", degrees(*LADDER), ends(ORDERED | {"W": 35.0}))
    assert result.verdict == "refuted"
    assert result.why.startswith("N = 1,000: U1 − W:")


def test_c3_is_undecided_where_a_step_is_small() -> None:
    assert finding("C3", degrees(*LADDER), ends(ORDERED, jitter=10)).verdict == "undecided"


def test_c3_leaves_out_an_optional_rung_with_one_seed_and_says_so() -> None:
    result = finding("C3", [*degrees("U2", "U1", "W", "O1"), make_cell("O2")], ends(ORDERED))
    assert result.verdict == "supported"
    assert len(result.parts) == 3
    assert "O2 in N = 1,000, planned with fewer than 5 seeds" in result.why


def test_c3_depends_on_the_setting_where_two_disagree() -> None:
    cells = degrees(*LADDER) + degrees(*LADDER, num=500)
    values = lambda cell, step: ends(ORDERED if cell.data.num_train == 500 else ORDERED | {"W": 35.0})(cell, step)  # noqa: E731
    result = finding("C3", cells, values)
    assert result.verdict == "undecided"
    assert "N = 1,000: refuted; N = 500: supported" in result.why


def test_c3_does_not_count_fresh_samples() -> None:
    assert "none of the settings" in finding("C3", degrees(*LADDER, num="fresh"), ends(ORDERED)).why


def test_degrees_are_derived_from_the_flow_and_not_the_label() -> None:
    cells = [cell.model_copy(update={"degree": "custom"}) for cell in degrees(*LADDER)]
    by_width = {cell.flow: cell.degree for cell in degrees(*LADDER, seeds=1)}
    values = lambda cell, step: ends(ORDERED)(cell.model_copy(update={"degree": by_width[cell.flow]}), step)  # noqa: E731
    assert finding("C3", cells, values).verdict == "supported"


# C4


def shapes(exponent: Callable[[str, int], float]) -> Override:
    """Curves (1 − t)^exponent, that depends on degree and seed."""
    return lambda cell, step: {
        "train_nll_nats": 100 * (1 - np.asarray(step, float) / STEPS) ** exponent(cell.degree, cell.seed)
    }


@pytest.mark.parametrize(
    ("exponent", "expected"), [(lambda d, s: 2 + s / 10, "supported"), (lambda d, s: 8 if d == "O1" else 1, "refuted"),
                               (lambda d, s: (1.2 + s / 5) if d == "O1" else 1, "undecided")]
)  # fmt: skip
def test_c4_is_the_distance_of_normalised_curves(exponent: Callable[[str, int], float], expected: str) -> None:
    assert finding("C4", degrees(*LADDER), shapes(exponent)).verdict == expected


def test_c4_effect_is_the_largest_distance() -> None:
    result = finding("C4", degrees(*LADDER), shapes(lambda d, s: 2 if d == "O1" else 1))
    assert result.effect == pytest.approx(0.25)  # t − t² at ½
    assert result.verdict == "refuted"


def test_c4_does_not_count_a_curve_that_does_not_fall() -> None:
    result = finding("C4", degrees(*LADDER), lambda cell, step: {"train_nll_nats": np.asarray(step, float)})
    assert result.verdict == "undecided"
    assert "does not fall" in result.why


# C5


@pytest.mark.parametrize(("level", "expected"), [(35.0, "supported"), (20.0, "refuted"), (30.0, "undecided")])
def test_c5_compares_the_well_specified_model_with_smaller_ones(level: float, expected: str) -> None:
    levels = ORDERED | {"W": level}
    assert finding("C5", degrees("U2", "U1", "W"), ends(levels, column="val_nll_nats")).verdict == expected


def test_c5_a_tie_in_every_seed_is_not_worse() -> None:
    result = finding("C5", degrees("U1", "W"), ends({"U1": 30.0, "W": 30.0}, 0, "val_nll_nats"))
    assert (result.verdict, result.effect) == ("refuted", 0.0)


# C6


def harms(nll: BySeed, frechet: BySeed) -> Override:
    """Let curves fall from 100 to 0 at half of the steps and rise to the harm at the end."""

    def curve(step: Array, harm: float) -> Array:
        half = STEPS / 2
        return np.where(step <= half, 100 * (1 - step / half), 100 * harm * (step - half) / half)

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        step = np.asarray(step, float)
        return {"val_nll_nats": curve(step, nll(cell.seed)), "frechet_lenet": curve(step, frechet(cell.seed))}

    return values


@pytest.mark.parametrize(
    ("nll", "frechet", "expected"),
    [
        (lambda s: 0.8 + s / 100, lambda s: 0.1, "supported"),
        (lambda s: 0.5 + s / 100, lambda s: 0.6, "refuted"),
        (lambda s: (0.2, 0.8, 0.3, 0.7, 0.4)[s % 5], lambda s: 0.3, "undecided"),
    ],
)
def test_c6_is_the_difference_of_harms(nll: BySeed, frechet: BySeed, expected: str) -> None:
    result = finding("C6", degrees("W"), harms(nll, frechet))
    assert result.verdict == expected
    assert result.effect == pytest.approx(np.mean([nll(s) - frechet(s) for s in range(5)]))


def test_c6_says_that_a_model_has_not_overfitted() -> None:
    result = finding("C6", degrees("W"), harms(lambda s: 0.01, lambda s: 0.0))
    assert result.verdict == "undecided"
    assert "has not overfitted" in result.why


def test_c6_is_judged_where_a_model_has_overfitted() -> None:
    values = lambda cell, step: harms(lambda s: 0.8 if cell.data.num_train == 500 else 0.0, lambda s: 0.0)(cell, step)  # noqa: E731
    result = finding("C6", degrees("W") + degrees("W", num=500), values)
    assert result.verdict == "supported"
    assert "N = 1,000 has not overfitted" in result.why
