"""Version 2: seeds whose value is at or below 0, infinite or missing count on their side or are named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nllgen.storage.hdf5_data import Array
from nllgen.study.config import Cell
from tests.analysis.claims_known import degrees, finding, is_gan
from tests.analysis.conftest import Override
from tests.analysis.test_claims2_adversarial import both, control, quality, rises, tuned, winners
from tests.analysis.test_claims2_nash import left, nash

FAR = 1000.0


def test_c2_a_game_whose_kl_is_below_0_by_its_error_stayed() -> None:
    assert finding("C2", nash(), left(lambda s: -0.05)).verdict == "refuted"
    result = finding("C2", nash(10), left(lambda s: -0.05 if s < 4 else FAR + s))
    assert (result.verdict, result.num_seeds, result.p_value) == ("undecided", 10, 1.0)
    assert "4 of 10 seeds are beyond any number on the other side" in result.why


def test_c2_a_game_without_a_kl_is_no_seed() -> None:
    result = finding("C2", nash(), left(lambda s: math.nan if s == 0 else FAR))
    assert (result.verdict, result.num_seeds) == ("undecided", 4)
    assert "seed 0: no finite value" in result.why


def test_c5_a_model_whose_kl_is_below_0_is_better() -> None:
    def values(cell: Cell, step: Array) -> dict[str, Any]:
        of_w = -0.1 if cell.seed < 4 else 500.0 + cell.seed
        return {"kl_nats": of_w if cell.degree == "W" else 5.0 + cell.seed}

    assert finding("C5", degrees("U1", "W", seeds=10), values).verdict == "undecided"
    assert finding("C5", degrees("U1", "W", seeds=4), values).num_seeds == 0  # too few are planned
    assert (
        finding("C5", degrees("U1", "W"), lambda cell, step: {"kl_nats": -1.0 if cell.degree == "W" else 5.0}).verdict
        == "refuted"
    )


@pytest.mark.parametrize("columns", [{"recall_lenet": math.nan}, {"recall_lenet": 0.0, "recall_floor_lenet": math.nan}])
def test_c0_without_recall_is_undecided_and_says_so(columns: dict[str, float]) -> None:
    calm = rises(lambda s: 1.05)
    values: Override = lambda cell, step: calm(cell, step) | (columns if is_gan(cell) else {})  # noqa: E731
    result = finding("C0", both(), values)
    assert result.verdict == "undecided"
    assert (
        "0 of 10 planned pairs have results, 5 are needed (Fréchet distances of both and NSGAN's recall)" in result.why
    )
    worse = rises(lambda s: 20.0)
    assert finding("C0", both(), lambda cell, step: worse(cell, step) | columns).verdict == "supported"


def test_c0_does_not_take_an_arm_whose_one_survivor_is_good() -> None:
    """A mean of Fréchet distances is infinite if a run diverged, so that the other plain arm is judged."""
    slow = [each for each in both(5, lr=1e-5) if is_gan(each)]
    result = finding("C0", [*both(5), *slow], rises(lambda s: 1.05), diverged=(5, 6, 7, 8))
    assert result.verdict == "refuted"
    assert {cell.id for cell in slow} <= set(result.cells)


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        ({"diverged": (21, 22)}, "a run of the positive control diverged"),
        ({"missing": (22,)}, "the positive control has no result of "),
        ({"missing": (20, 21, 22)}, "the positive control has no result of "),
    ],
)
def test_c1_needs_every_seed_of_its_control(lost: dict[str, Any], why: str) -> None:
    controls = [control().model_copy(update={"seed": seed}) for seed in range(3)]
    cells, values = [*winners(), *controls], quality(lambda s: 1.1 + s / 100)
    assert finding("C1", cells, values, tuning=tuned()).verdict == "supported"
    result = finding("C1", cells, values, tuning=tuned(), **lost)
    assert (result.verdict, np.isnan(result.p_value)) == ("undecided", True)
    assert why in result.why
    assert all(cells[rank].id in result.why for rank in lost.get("missing", ()))


def test_c1_a_control_without_a_distance_of_one_seed_does_not_work() -> None:
    controls = [control().model_copy(update={"seed": seed}) for seed in range(3)]

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        is_lost = cell.dcgan is not None and cell.seed == 1
        return {"frechet_lenet": math.nan} if is_lost else quality(lambda s: 1.1)(cell, step)

    result = finding("C1", [*winners(), *controls], values, tuning=tuned())
    assert result.verdict == "undecided"
    assert "has no Fréchet distance" in result.why
