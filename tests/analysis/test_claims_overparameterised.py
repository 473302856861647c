"""Version 1: C7 and C8, on larger models and on likelihood against images, in studies with known verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nllgen_analysis.claims import judge
from nllgen_analysis.frames import to_frames

from nllgen.storage.hdf5_data import Array
from nllgen.study.claims import claims_sha256
from nllgen.study.config import Cell
from tests.analysis.claims_known import JITTER, degrees
from tests.analysis.claims_known import finding1 as finding
from tests.analysis.claims_known import verdicts1 as verdicts
from tests.analysis.conftest import STEPS, Override, build_study, make_cell

# C7


def over(worse: bool = True, scale: float = 1.0) -> Override:
    """Make O1 and O2 worse or better than W by a factor in curve, scatter, gap and images."""

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        step = np.asarray(step, float)
        large = cell.degree != "W"
        factor = 1 + 0.02 * cell.seed + (scale if large == worse else 0)
        sign = np.where(step // 100 % 2 == 0, 1.0, -1.0)
        train = 100 * (1 - step / STEPS) ** (4 / factor)
        return {"train_nll_nats": train, "val_nll_nats": train + 10 * factor * step / STEPS,
                "frechet_lenet": 20 * factor + sign * factor}  # fmt: skip

    return values


def test_c7_has_four_parts_that_can_all_be_supported() -> None:
    result = verdicts(degrees("W", "O1", "O2"), over())
    assert {id: row.finding.verdict for id, row in result.items() if id.startswith("C7")} == dict.fromkeys(
        ("C7", "C7a", "C7b", "C7c", "C7d"), "supported"
    )


def test_c7_has_four_parts_that_can_all_be_refuted() -> None:
    result = verdicts(degrees("W", "O1", "O2"), over(worse=False))
    assert {result[id].finding.verdict for id in ("C7", "C7a", "C7b", "C7c", "C7d")} == {"refuted"}


def test_c7_is_undecided_where_nothing_differs_but_the_seeds() -> None:
    def values(cell: Cell, step: Array) -> dict[str, Any]:
        lucky = (cell.seed + (cell.degree != "W")) % 2
        return over(scale=0)(cell, step) | {"frechet_lenet": 20.0 + 30 * lucky + np.asarray(step) % 200 / (1 + lucky)}

    result = verdicts(degrees("W", "O1", seeds=6), values)
    assert result["C7b"].finding.verdict == "undecided"
    assert result["C7d"].finding.verdict == "undecided"
    assert result["C7"].finding.verdict == "refuted"  # no gap more than W's


def test_c7_is_a_conjunction() -> None:
    values = lambda cell, step: over()(cell, step) | {"frechet_lenet": 20.0 + np.asarray(step) % 200}  # noqa: E731
    result = verdicts(degrees("W", "O1", "O2"), values)
    assert result["C7d"].finding.verdict == "refuted"
    assert result["C7"].finding.verdict == "refuted"
    assert result["C7c"].finding.verdict == "supported"


def test_c7_judges_o1_alone_where_o2_has_one_seed() -> None:
    result = finding("C7c", [*degrees("W", "O1"), make_cell("O2")], over())
    assert result.verdict == "supported"
    assert "O2 in N = 1,000" in result.why


def test_c7a_does_not_compare_devices() -> None:
    study = build_study(degrees("W", "O1"), override=over(), samples=0, claims_sha256=claims_sha256(1))
    study.cells["device"][:5] = "cuda"
    result = next(row for row in judge(to_frames(study)).rows if row.id == "C7a").finding
    assert result.verdict == "undecided"
    assert "another device" in result.why


def test_c7d_small_differences_are_not_worse() -> None:
    # half a floor (0.7) in every seed
    values = lambda cell, step: {"frechet_lenet": 20 + 0.35 * (cell.degree != "W")}  # noqa: E731
    result = finding("C7d", degrees("W", "O1"), values)
    assert result.verdict == "refuted"
    assert result.effect == pytest.approx(0.5)


# C8


def related(signs: int) -> Override:
    """Let the NLL rise by degree, and the Fréchet distance rise or fall by the sign."""
    place = {"U1": 0, "W": 1, "O1": 2}
    return lambda cell, step: {
        "val_nll_nats": 10.0 * place[cell.degree] + 0.01 * JITTER[cell.degree][cell.seed % 5],
        "frechet_lenet": 10.0 * signs * place[cell.degree] + 0.01 * JITTER[cell.degree][cell.seed % 5],
    }


@pytest.mark.parametrize(("signs", "expected"), [(-1, "supported"), (1, "refuted"), (0, "undecided")])
def test_c8_is_a_pair_of_opposite_signs(signs: int, expected: str) -> None:
    result = finding("C8", degrees("U1", "W", "O1"), related(signs))
    assert result.verdict == expected


def test_c8_is_not_refuted_by_one_pair() -> None:
    assert finding("C8", degrees("U1", "W"), related(1)).verdict == "undecided"
    assert finding("C8", degrees("U1", "W"), related(-1)).verdict == "supported"


def test_c8_shares_the_error_between_all_pairs() -> None:
    part = finding("C8", degrees("U1", "W", "O1"), related(-1)).parts[0]
    assert part.confidence == pytest.approx(1 - 0.05 / 6)
