"""Version 2: C3 to C8, on degrees and on likelihood against images, in studies with known verdicts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nllgen_analysis.claims import judge
from nllgen_analysis.claims.tables import verdict_lines, verdicts_json, verdicts_table
from nllgen_analysis.claims.verdict import Qualifier
from nllgen_analysis.frames import to_frames
from scipy import stats

from nllgen.storage.hdf5_data import Array
from nllgen.study.config import Cell, NLLConfig
from tests.analysis.claims_known import JITTER, LADDER, ORDERED, BySeed, degrees, ends, finding, verdicts
from tests.analysis.conftest import STEPS, Override, build_study, make_cell

LATE = Qualifier.LATE_TRAINING

# C3


@pytest.mark.parametrize(
    ("levels", "jitter", "expected"),
    [(ORDERED, 1.0, "supported"), (ORDERED | {"W": 35.0}, 1.0, "refuted"), (ORDERED, 10.0, "undecided")],
)
def test_c3_is_the_order_of_the_degrees(levels: dict[str, float], jitter: float, expected: str) -> None:
    assert finding("C3", degrees(*LADDER), ends(levels, jitter)).verdict == expected


def test_c3_p_value_is_the_largest_of_the_steps() -> None:
    result = finding("C3", degrees(*LADDER), ends(ORDERED))
    steps = [10 + np.subtract(JITTER[a], JITTER[b]) for a, b in itertools.pairwise(LADDER)]
    assert result.p_value == pytest.approx(max(4 * stats.ttest_1samp(step, 0).pvalue for step in steps))


def test_c3_is_not_supported_where_the_lower_degree_diverged() -> None:
    cells = degrees(*LADDER)
    assert finding("C3", cells, ends(ORDERED), diverged=(20,)).verdict == "undecided"  # O2
    assert finding("C3", cells, ends(ORDERED), diverged=(0,)).verdict == "supported"  # U2, already the worst


# C4


def shapes(exponent: Callable[[str, int], float], best: int = STEPS) -> Override:
    """Curves (1 − t)^exponent that end at the best validation step; what follows differs by degree."""

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        step = np.asarray(step, float)
        shape = 100 * np.maximum(0, 1 - step / best) ** exponent(cell.degree, cell.seed)
        memorised = np.maximum(0, step - best) * (1.0 if cell.degree == "O1" else 0.01)
        return {"train_nll_nats": shape - memorised, "val_nll_nats": np.abs(step - best)}

    return values


@pytest.mark.parametrize("num", [1000, "fresh"])
@pytest.mark.parametrize(
    ("exponent", "expected"), [(lambda d, s: 2 + s / 10, "supported"), (lambda d, s: 8 if d == "O1" else 1, "refuted"),
                               (lambda d, s: (1.2 + s / 5) if d == "O1" else 1, "undecided")]
)  # fmt: skip
def test_c4_is_the_distance_of_normalised_curves(
    exponent: Callable[[str, int], float], expected: str, num: Any
) -> None:
    assert finding("C4", degrees(*LADDER, num=num), shapes(exponent)).verdict == expected


def test_c4_does_not_count_memorisation_on_finite_data() -> None:
    values = shapes(lambda d, s: 2 + s / 10, best=500)
    assert finding("C4", degrees(*LADDER), values).verdict == "supported"
    assert finding("C4", degrees(*LADDER, num="fresh"), values).verdict == "refuted"


def test_c4_is_undecided_where_the_best_step_is_early() -> None:
    result = finding("C4", degrees(*LADDER), shapes(lambda d, s: 2, best=200))
    assert result.verdict == "undecided"
    assert "fewer than 5 evaluations" in result.why


# C5


def worse(last: float, best: float, spread: BySeed = lambda s: 1.0) -> Override:
    """Let W's KL be multiples of the smaller model's at the best validation step, half of the steps, and at the end."""

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        step = np.asarray(step, float)
        own = spread(cell.seed) if cell.degree == "W" else 1.0
        at_best, at_end = (ratio * own if cell.degree == "W" else 1.0 for ratio in (best, last))
        kl = np.where(step == STEPS / 2, 20 * at_best, np.where(step == STEPS, 40 * at_end, 900.0))
        return {"kl_nats": kl, "val_nll_nats": -300 + np.where(step == STEPS / 2, 0.0, kl)}

    return values


JITTERED: BySeed = lambda s: 1 + 0.01 * s  # noqa: E731


@pytest.mark.parametrize(
    ("last", "best", "expected", "qualifier"),
    [
        (30.0, 1.5, "supported", None),
        (30.0, 0.9, "supported", LATE),
        (0.8, 0.9, "refuted", None),
        (0.8, 1.5, "undecided", None),
    ],
)
def test_c5_is_judged_at_last_and_best_weights(last: float, best: float, expected: str, qualifier: Any) -> None:
    result = finding("C5", degrees("U2", "U1", "W"), worse(last, best, JITTERED))
    assert (result.verdict, result.qualifier) == (expected, qualifier)
    text = "supported by late training alone" if qualifier else expected
    assert result.text == text


def test_late_training_alone_is_in_files_and_tables() -> None:
    study = build_study(degrees("U1", "W"), override=worse(30.0, 0.9, JITTERED), samples=0)
    judged = judge(to_frames(study))
    assert verdicts_json(judged)["claims"][5]["qualifier"] == "by late training alone"
    table = verdicts_table(judged).set_index("claim")
    assert table.loc["C5", "qualifier"] == "by late training alone"
    assert np.isfinite(table.loc["C5", ["p_value", "p_holm"]].astype(float)).all()
    assert any("supported by late training alone" in line for line in verdict_lines(judged))


def test_c5_is_undecided_where_seeds_disagree() -> None:
    result = finding("C5", degrees("U1", "W"), worse(1, 1, lambda s: 0.5 + s % 2))
    assert (result.verdict, result.qualifier) == ("undecided", None)


def test_c5_sees_by_logarithms_what_powers_of_ten_hide() -> None:
    result = finding("C5", degrees("U1", "W"), worse(2, 2, lambda s: 10.0 ** (s % 5)))
    logs = np.log(2 * 10.0 ** np.arange(5))
    assert result.verdict == "supported"
    assert result.effect == pytest.approx(logs.mean())
    differences = 40 * (2 * 10.0 ** np.arange(5) - 1)
    assert stats.ttest_1samp(differences, 0).pvalue > 0.05


def test_c5_a_diverged_seed_does_not_drop_out() -> None:
    cells = degrees("U1", "W")  # U1 first
    assert finding("C5", cells, worse(30, 1.5, JITTERED), diverged=(9,)).verdict == "supported"
    assert finding("C5", cells, worse(30, 1.5, JITTERED), diverged=(0,)).verdict == "undecided"
    assert finding("C5", cells, worse(0.8, 0.9, JITTERED), diverged=(9,)).verdict == "undecided"


# C7


def over(sign: int, late: bool = True) -> Override:
    """Make O1 and O2 worse or better than W in curve, unrest, gap and images; at the best step only if not ``late``."""

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        step = np.asarray(step, float)
        size = (1 if cell.degree != "W" else 0) * sign
        factor = (1 + 0.02 * cell.seed) * 2.0**size
        train = 100 * (1 - step / STEPS) ** (4 / factor)
        late_half = step > 640
        gap = np.where(step == STEPS, 30.0, 10.0) * (factor if not late else np.where(step == STEPS, factor, 1))
        images = factor if not late else np.where(step == STEPS, factor, 1)
        wave = 1 + 0.3 * factor * np.where(step // 20 % 2 == 0, 1, -1) * late_half
        val = np.where(step == 600, -500.0, 0.0)
        return {"train_nll_nats": train, "val_nll_nats": train + gap + val, "frechet_lenet": 20 * images * wave}

    return values


def larger(*names: Any) -> list[Cell]:
    return [
        make_cell(name, seed=seed).model_copy(update={"paradigm": NLLConfig(steps=STEPS, eval_every=20)})
        for name in names
        for seed in range(5)
    ]


C7 = ("C7", "C7a", "C7b", "C7c", "C7d")


@pytest.fixture
def dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate the synthetic study every 20 steps."""
    monkeypatch.setattr("tests.analysis.conftest.GRID", np.arange(0, STEPS + 1, 20))


@pytest.mark.usefixtures("dense")
@pytest.mark.parametrize(("sign", "expected"), [(1, "supported"), (-1, "refuted")])
def test_c7_has_four_parts_that_can_all_be_decided(sign: int, expected: str) -> None:
    result = verdicts(larger("W", "O1", "O2"), over(sign, late=False))
    assert {id: result[id].finding.verdict for id in C7} == dict.fromkeys(C7, expected)


@pytest.mark.usefixtures("dense")
def test_c7_late_training_alone_is_named() -> None:
    result = verdicts(larger("W", "O1"), over(1))
    assert {id: result[id].finding.qualifier for id in ("C7a", "C7b", "C7d")} == {"C7a": None, "C7b": None, "C7d": LATE}
    assert result["C7"].finding.text == "supported by late training alone"


@pytest.mark.usefixtures("dense")
def test_c7_is_undecided_where_seeds_disagree() -> None:
    def values(cell: Cell, step: Array) -> dict[str, Any]:
        lucky = cell.degree != "W" and cell.seed % 2
        return over(-1 if lucky else 1)(cell, step)

    result = verdicts(larger("W", "O1"), values)
    assert {result[id].finding.verdict for id in C7} == {"undecided"}


@pytest.mark.usefixtures("dense")
def test_c7b_a_model_that_does_not_change_is_not_stable() -> None:
    def values(cell: Cell, step: Array) -> dict[str, Any]:
        known = over(-1)(cell, step)
        return known | ({"frechet_lenet": 50.0} if cell.degree == "O1" and cell.seed == 0 else {})

    result = finding("C7b", larger("W", "O1"), values)
    assert (result.verdict, result.num_seeds) == ("undecided", 5)


def test_c7b_needs_twenty_evaluations() -> None:
    result = finding("C7b", degrees("W", "O1"), over(1))
    assert result.verdict == "undecided"
    assert "11 evaluations are planned, 20 are needed" in result.why


def test_c7d_small_differences_are_not_worse() -> None:
    # half a floor (0.7) in every seed
    values = lambda cell, step: {"frechet_lenet": 20 + 0.35 * (cell.degree != "W")}  # noqa: E731
    assert finding("C7d", degrees("W", "O1"), values).verdict == "refuted"


# C8


def related(signs: int) -> Override:
    """Let the NLL rise by degree, and the Fréchet distance rise or fall by the sign."""
    place = {"U1": 0, "W": 1, "O1": 2}
    return lambda cell, step: {
        "val_nll_nats": 10.0 ** place[cell.degree] + 0.01 * JITTER[cell.degree][cell.seed % 5],
        "frechet_lenet": 30 + 10.0 * signs * place[cell.degree] + 0.01 * JITTER[cell.degree][cell.seed % 5],
    }


@pytest.mark.parametrize(("signs", "expected"), [(-1, "supported"), (1, "refuted"), (0, "undecided")])
def test_c8_is_a_pair_of_opposite_signs(signs: int, expected: str) -> None:
    assert finding("C8", degrees("U1", "W", "O1"), related(signs)).verdict == expected


def test_c8_is_not_refuted_by_one_pair() -> None:
    assert finding("C8", degrees("U1", "W"), related(1)).verdict == "undecided"
    assert finding("C8", degrees("U1", "W"), related(-1)).verdict == "supported"


def test_c8_shares_the_error_between_all_pairs() -> None:
    part = finding("C8", degrees("U1", "W", "O1"), related(-1)).parts[0]
    assert part.confidence == pytest.approx(1 - 0.05 / 3)


# p-values


def test_p_values_are_corrected_by_holm_over_nine() -> None:
    result = verdicts(degrees(*LADDER), ends(ORDERED))
    raw = {f"C{n}": result[f"C{n}"].finding.p_value for n in range(9)}
    corrected = {id: result[id].p_holm for id in raw}
    tested = sorted((p, id) for id, p in raw.items() if np.isfinite(p))
    largest = 0.0
    for rank, (p_value, id) in enumerate(tested):
        largest = max(largest, min(1.0, (9 - rank) * p_value))
        assert corrected[id] == pytest.approx(largest)
    assert len(tested) >= 3
    assert all(np.isnan(corrected[id]) for id, p in raw.items() if np.isnan(p))
