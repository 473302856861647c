"""Version 1: C0, C1 and C2, on adversarial training, in studies with known verdicts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nllgen.storage.hdf5_data import Array
from nllgen.study.config import Cell
from tests.analysis.claims_known import NASH, SEEDS, BySeed, both, dcgan, is_gan, nash
from tests.analysis.claims_known import finding1 as finding
from tests.analysis.conftest import STEPS, Override, make_cell

# C0


def scatter(of_gan: BySeed, of_nll: BySeed) -> Override:
    """Let Fréchet distances alternate with an amplitude that depends on the seed."""

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        sign = np.where(np.asarray(step) // 100 % 2 == 0, 1.0, -1.0)
        return {"frechet_lenet": 50 + sign * (of_gan if is_gan(cell) else of_nll)(cell.seed)}

    return values


def test_c0_is_supported_where_the_gan_scatters_more() -> None:
    result = finding("C0", both(), scatter(lambda s: 5 + s, lambda s: 1))
    logs = np.log(5 + np.arange(5))
    interval = stats.t.interval(0.95, 4, logs.mean(), stats.sem(logs))
    assert result.verdict == "supported"
    assert (result.effect, result.low, result.high) == pytest.approx((logs.mean(), *interval))
    assert result.num_seeds == 5


def test_c0_is_refuted_where_it_scatters_less() -> None:
    assert finding("C0", both(), scatter(lambda s: 1, lambda s: 5 + s)).verdict == "refuted"


def test_c0_is_undecided_where_seeds_disagree() -> None:
    result = finding("C0", both(), scatter(lambda s: (0.5, 2, 0.5, 2, 1)[s % 5], lambda s: 1))
    assert result.verdict == "undecided"
    assert "reaches across 0" in result.why


def test_c0_is_supported_by_divergence() -> None:
    result = finding("C0", both(), scatter(lambda s: 1, lambda s: 5), diverged=(5, 6, 7))
    assert (result.verdict, result.effect, result.unit) == ("supported", 0.6, "share diverged")


def test_c0_is_not_refuted_where_a_run_diverged() -> None:
    result = finding("C0", both(), scatter(lambda s: 1, lambda s: 5 + s), diverged=(5,))
    assert result.verdict == "undecided"
    assert "1 of 5 runs diverged" in result.why


def test_c0_is_still_decided_by_scatter_after_one_divergence() -> None:
    assert finding("C0", both(), scatter(lambda s: 5 + s, lambda s: 1), diverged=(5,)).verdict == "supported"


def test_c0_is_undecided_where_nll_diverges_as_often() -> None:
    assert finding("C0", both(), diverged=tuple(range(10))).verdict == "undecided"


def test_c0_without_scatter_on_either_side_is_undecided() -> None:
    result = finding("C0", both(), scatter(lambda s: 0, lambda s: 0))
    assert result.verdict == "undecided"
    assert "0 of 5 planned seeds" in result.why


def test_c0_regularised_runs_do_not_count() -> None:
    result = finding("C0", both(nsgan={"r1_gamma": 10.0}), scatter(lambda s: 5, lambda s: 1))
    assert result.verdict == "undecided"
    assert "plain NSGAN" in result.why


def test_c0_takes_the_best_of_several_learning_rates() -> None:
    wild = [make_cell("W", "nsgan", seed=s, lr=1e-2) for s in range(SEEDS)]

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        known = scatter(lambda s: 1, lambda s: 5 + s)(cell, step)["frechet_lenet"]
        return {"frechet_lenet": 100 + known * 9 if cell.paradigm.lr == 1e-2 else known}

    assert finding("C0", [*both(), *wild], values).verdict == "refuted"


# C1


def quality(ratio: BySeed, control: float = 15.0) -> Override:
    """Set NLL's Fréchet distance to a ratio of NSGAN's by seed, and the control's to a value."""

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        gan = 40.0 + cell.seed
        value = control if cell.dcgan is not None else gan if is_gan(cell) else gan * ratio(cell.seed)
        return {"frechet_lenet": value}

    return values


@pytest.mark.parametrize(
    ("ratio", "expected"), [(lambda s: 1.1 + s / 100, "supported"), (lambda s: 2 + s / 100, "refuted"),
                            (lambda s: (1.2, 1.8, 1.4, 1.6, 1.5)[s % 5], "undecided")]
)  # fmt: skip
def test_c1_is_the_ratio_of_frechet_distances(ratio: BySeed, expected: str) -> None:
    assert finding("C1", [*both("mnist"), dcgan()], quality(ratio)).verdict == expected


def test_c1_effect_is_the_mean_log_ratio() -> None:
    # the averaged weights of the synthetic study are 1 better on validation, so that they stand for NSGAN
    result = finding("C1", [*both("mnist"), dcgan()], quality(lambda s: 1.1))
    assert result.effect == pytest.approx(math.log(1.1))
    assert result.low == pytest.approx(result.high)


@pytest.mark.parametrize(("cells", "control", "why"), [([], 15.0, "no positive control"), ([dcgan()], 24.0, "reached")])
def test_c1_is_undecided_without_a_control_that_works(cells: list[Cell], control: float, why: str) -> None:
    result = finding("C1", [*both("mnist"), *cells], quality(lambda s: 1.1, control))
    assert result.verdict == "undecided"
    assert why in result.why


def test_c1_is_undecided_where_the_control_is_missing() -> None:
    cells = [*both("mnist"), dcgan()]
    result = finding("C1", cells, quality(lambda s: 1.1), missing=(len(cells) - 1,))
    assert result.verdict == "undecided"
    assert "control has no result" in result.why


def test_c1_is_undecided_by_unequal_tuning() -> None:
    more = [make_cell("W", "nsgan", seed=s, source="mnist", lr=1e-4) for s in range(SEEDS)]
    result = finding("C1", [*both("mnist"), *more, dcgan()], quality(lambda s: 1.1))
    assert result.verdict == "undecided"
    assert "1 configurations of NLL and 2 of NSGAN" in result.why


def test_c1_takes_the_better_of_equally_many_configurations() -> None:
    more = [make_cell("W", p, seed=s, source="mnist", lr=1e-4) for p in ("nll", "nsgan") for s in range(SEEDS)]

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        known = quality(lambda s: 1.2)(cell, step)["frechet_lenet"]
        return {"frechet_lenet": known * (3 if cell.paradigm.lr == 1e-4 else 1)}

    result = finding("C1", [*both("mnist"), *more, dcgan()], values)
    assert result.verdict == "supported"
    assert result.effect == pytest.approx(math.log(1.2))


# C2


def left(gan: BySeed, control: BySeed = lambda s: 1.0) -> Override:
    return lambda cell, step: {
        "kl_nats": (gan if is_gan(cell) else control)(cell.seed) * np.asarray(step, float) / STEPS
    }


@pytest.mark.parametrize(
    ("gan", "expected"), [(lambda s: 30 + s, "supported"), (lambda s: 2 + s / 10, "refuted"),
                          (lambda s: 1 + s, "undecided")]
)  # fmt: skip
def test_c2_is_three_times_the_control(gan: BySeed, expected: str) -> None:
    result = finding("C2", nash(), left(gan))
    assert result.verdict == expected
    assert result.effect == pytest.approx(np.mean([gan(s) - 3 for s in range(5)]))


def test_c2_is_refuted_by_a_tie() -> None:
    result = finding("C2", nash(), left(lambda s: 3.0))
    assert (result.verdict, result.low, result.high) == ("refuted", 0.0, 0.0)


def test_c2_allows_a_control_below_zero() -> None:
    # an estimate of a KL near 0 may be negative, and has no ratio
    assert finding("C2", nash(), left(lambda s: 5.0 + s, lambda s: -0.01)).verdict == "supported"


def test_c2_diverged_runs_count_with_their_last_kl() -> None:
    result = finding("C2", nash(), left(lambda s: 30.0), diverged=(0, 1))
    assert (result.verdict, result.num_seeds) == ("supported", 5)
    assert result.low < 27 * 0.4 + 9 < result.high or result.effect == pytest.approx((3 * 27 + 2 * (12 - 3)) / 5)


def test_c2_is_supported_where_every_run_diverged() -> None:
    result = finding("C2", nash(), left(lambda s: 1.0), diverged=tuple(range(5)))
    assert (result.verdict, result.unit) == ("supported", "share diverged")


def test_c2_needs_a_control_with_the_same_optimiser() -> None:
    cells = [cell for cell in nash() if is_gan(cell)]
    cells += [make_cell("W", "nll", seed=s, start="truth", **(NASH | {"beta1": 0.9})) for s in range(SEEDS)]
    result = finding("C2", cells, left(lambda s: 30))
    assert result.verdict == "undecided"
    assert "has no partner" in result.why


def test_c2_other_learning_rates_are_shown_and_not_counted() -> None:
    other = [make_cell("W", "nsgan", seed=s, start="truth", lr=1e-3) for s in range(SEEDS)]
    other += [make_cell("W", "nll", seed=s, start="truth", **(NASH | {"lr": 1e-3})) for s in range(SEEDS)]
    values = lambda cell, step: left(lambda s: 30.0 if cell.paradigm.lr == 1e-3 else 1.0)(cell, step)  # noqa: E731
    result = finding("C2", [*nash(), *other], values)
    assert result.verdict == "refuted"
    assert [part.verdict for part in result.parts if "(not counted)" in part.label] == ["supported"]
