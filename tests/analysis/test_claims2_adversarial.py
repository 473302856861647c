"""Version 2: C0 and C1, on adversarial training, in studies with known verdicts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from nllgen_analysis.claims import judge
from nllgen_analysis.claims.tables import printed_verdicts, verdicts_json
from nllgen_analysis.frames import to_frames
from scipy import stats

from nllgen.storage.hdf5_data import Array
from nllgen.study.claims import claims_sha256
from nllgen.study.config import (
    Cell,
    DataConfig,
    DCGANConfig,
    NLLConfig,
    NSGANConfig,
)
from nllgen.study.tuning import Trial, Tuning
from tests.analysis.claims_known import BySeed, cell, finding, is_gan, verdicts
from tests.analysis.conftest import STEPS, Override, build_study, make_cell

OFTEN: dict[str, Any] = {"eval_every": 50}


def both(seeds: int = 10, source: Any = "synthetic", **game: Any) -> list[Cell]:
    """Return cells of W trained by NLL, then by NSGAN, evaluated often enough."""
    kinds = NLLConfig(steps=STEPS, **OFTEN), NSGANConfig(steps=STEPS, **OFTEN, **game)
    return [cell(kind, seed, source=source) for kind in kinds for seed in range(seeds)]


# C0


def rises(gan: BySeed, nll: BySeed = lambda s: 1.0 + s / 100, dead: int = 0, no_recall: int = 0) -> Override:
    """Let Fréchet distances fall from 100 to 10, and end at a multiple of 10; kill the first seeds of NSGAN."""

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        step = np.asarray(step, float)
        ratio = (gan if is_gan(cell) else nll)(cell.seed)
        fall = 10 + 90 * (1 - np.minimum(1, step / 800)) ** 2
        is_dead, has_none = (is_gan(cell) and cell.seed < number for number in (dead, no_recall))
        return {
            "frechet_lenet": np.where(step == STEPS, 10 * ratio, fall),
            "dead_step": 300.0 if is_dead else math.nan,
            "recall_lenet": 0.05 if has_none else 0.6,
            "recall_floor_lenet": 0.9,
        }

    return values


@pytest.mark.parametrize(("num_failed", "expected"), [(9, "supported"), (8, "undecided")])
@pytest.mark.parametrize("how", ["worse", "dead", "no_recall", "diverged"])
def test_c0_is_supported_where_nine_of_ten_seeds_fail(num_failed: int, expected: str, how: str) -> None:
    settings: dict[str, Any] = {}
    values = rises(lambda s: 20.0 if how == "worse" and s < num_failed else 1.2)
    if how == "dead":
        values = rises(lambda s: 1.2, dead=num_failed)
    elif how == "no_recall":
        values = rises(lambda s: 1.2, no_recall=num_failed)
    elif how == "diverged":
        settings["diverged"] = tuple(range(10, 10 + num_failed))
    result = finding("C0", both(), values, **settings)
    assert result.verdict == expected
    assert f"{num_failed} of 10 runs fail" in result.why
    if expected == "supported":
        assert (result.effect, result.low) == pytest.approx((0.9, stats.beta.ppf(0.05, 9, 2)))
        assert result.p_value == pytest.approx(11 / 1024)
        assert len(result.cells) == 20


def test_c0_is_supported_by_a_late_rise() -> None:
    result = finding("C0", both(), rises(lambda s: 2 + s / 10))
    rise = np.log(2 + np.arange(10) / 10) - np.log(1 + np.arange(10) / 100)
    test = stats.ttest_1samp(rise, math.log(1.25))
    assert result.verdict == "supported"
    assert (result.effect, result.p_value) == pytest.approx((rise.mean(), test.pvalue))
    assert (result.low, result.high) == pytest.approx(tuple(test.confidence_interval()))


def test_c0_is_refuted_where_nothing_rises() -> None:
    assert finding("C0", both(), rises(lambda s: 1.05)).verdict == "refuted"


def test_c0_is_not_refuted_where_one_seed_failed() -> None:
    result = finding("C0", both(), rises(lambda s: 1.05, dead=1))
    assert (result.verdict, result.p_value) == ("undecided", 1.0)
    assert "beyond any number" in result.why


def test_c0_is_undecided_where_seeds_disagree() -> None:
    assert finding("C0", both(), rises(lambda s: 1.0 + s % 2)).verdict == "undecided"


def test_c0_is_undecided_where_nll_fails_as_often() -> None:
    assert finding("C0", both(), rises(lambda s: 20.0, lambda s: 20.0)).verdict == "undecided"


def test_c0_needs_twenty_evaluations() -> None:
    cells = [make_cell("W", name, seed=s) for name in ("nll", "nsgan") for s in range(10)]
    result = finding("C0", cells, rises(lambda s: 20.0))
    assert result.verdict == "undecided"
    assert "planned with 11 evaluations, 20 are needed" in result.why


def tuned(gammas: tuple[float, ...] = (0.0, 1.0, 10.0), num_nll: int = 6, source: Any = "mnist") -> Tuning:
    """Return trials of equally many rates of NLL and of NSGAN, of which WINNERS have the lowest distance."""
    rates = [1e-4 * (i + 1) for i in range(num_nll)]
    kinds = [NLLConfig(steps=STEPS, lr=rate) for rate in rates]
    games = [NSGANConfig(steps=STEPS, r1_gamma=gamma, lr=rate) for gamma in gammas for rate in (1e-4, 2e-4)]
    trials = []
    for kind in (*kinds, *games):
        is_best = any(kind.model_copy(update=OFTEN) == best for best in WINNERS)
        trials.append(
            Trial(cell=cell(kind, 100, source=source), seeds=(100, 101), frechet={"raw": 40.0 + 9 * (not is_best)})
        )
    return Tuning(study="tuning", study_sha256="5" * 64, trials=tuple(trials), sha256="7" * 64)


WINNERS = (NLLConfig(steps=STEPS, lr=1e-4, **OFTEN), NSGANConfig(steps=STEPS, r1_gamma=1.0, lr=1e-4, **OFTEN))


def winners(seeds: int = 10, source: Any = "mnist") -> list[Cell]:
    return [cell(kind, seed, source=source) for kind in WINNERS for seed in range(seeds)]


def is_winner(cell: Cell) -> bool:
    return any(cell.paradigm == kind for kind in WINNERS)


def test_c0_judges_plain_and_tuned_nsgan_apart() -> None:
    cells = [*both(), *winners(source="synthetic")]

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        is_plain = is_gan(cell) and not is_winner(cell)
        return rises(lambda s: 20.0 if is_plain else 1.05)(cell, step)

    result = verdicts(cells, values, tuning=tuned(source="synthetic"))
    assert {id: result[id].finding.verdict for id in ("C0", "C0a", "C0b")} == {
        "C0": "supported", "C0a": "supported", "C0b": "refuted",
    }  # fmt: skip


def test_c0_without_trials_has_no_verdict_on_tuned_nsgan() -> None:
    result = finding("C0b", both(), rises(lambda s: 20.0))
    assert result.verdict == "undecided"
    assert "names no tuning study" in result.why


# C1


def control(**game: Any) -> Cell:
    data = DataConfig(source="mnist", image_size=14, num_train="all")
    config = NSGANConfig(steps=STEPS, r1_gamma=1.0, **OFTEN, **game)
    return Cell(data=data, dcgan=DCGANConfig(shape=(1, 14, 14)), paradigm=config)


def quality(ratio: BySeed, reached: float = 15.0) -> Override:
    """Set NLL's Fréchet distance to a ratio of NSGAN's, and that of the control."""

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        gan = 40.0 + cell.seed
        return {"frechet_lenet": reached if cell.dcgan is not None else gan if is_gan(cell) else gan * ratio(cell.seed)}

    return values


@pytest.mark.parametrize(
    ("ratio", "expected"), [(lambda s: 1.1 + s / 100, "supported"), (lambda s: 2 + s / 100, "refuted"),
                            (lambda s: (1.2, 1.8, 1.4, 1.6, 1.5)[s % 5], "undecided")]
)  # fmt: skip
def test_c1_is_the_ratio_of_the_winners(ratio: BySeed, expected: str) -> None:
    result = finding("C1", [*winners(), control()], quality(ratio), tuning=tuned())
    assert result.verdict == expected
    assert result.effect == pytest.approx(np.mean([math.log(ratio(s)) for s in range(10)]))
    assert "tuned by tuning, SHA-256 7777" in result.why


def diverged_trial(tuning: Tuning) -> Tuning:
    """Let every trial of NLL diverge."""
    trials = [
        trial.model_copy(update={"frechet": {"raw": None}}) if not is_gan(trial.cell) else trial
        for trial in tuning.trials
    ]
    return tuning.model_copy(update={"trials": tuple(trials)})


@pytest.mark.parametrize(
    ("cells", "tuning", "why"),
    [
        ([*winners(), control()], None, "names no tuning study"),
        ([*winners(), control()], tuned(num_nll=5), "unequal tuning budgets"),
        ([*winners(), control()], tuned((0.0, 1.0), 4), "no trials of NSGAN with r1_gamma 10"),
        ([*winners(), control()], diverged_trial(tuned()), "every trial of NLL diverged"),
        ([*winners(), cell(WINNERS[0], 101, source="mnist"), control()], tuned(), "has seeds that were trials: 101"),
        ([control()], tuned(), "the winner of NLL (lr 0.0001) has no cells"),
        (winners(), tuned(), "no positive control"),
        ([*winners(), control(disc_width=8)], tuned(), "no positive control"),
        ([*winners(), control(batch_size=64)], tuned(), "no positive control"),
    ],
)
def test_c1_says_what_it_lacks(cells: list[Cell], tuning: Tuning | None, why: str) -> None:
    result = finding("C1", cells, quality(lambda s: 1.1 + s / 100), tuning=tuning)
    assert result.verdict == "undecided"
    assert why in result.why


def test_c1_is_undecided_where_the_control_does_not_work() -> None:
    result = finding("C1", [*winners(), control()], quality(lambda s: 1.1 + s / 100, 24.0), tuning=tuned())
    assert result.verdict == "undecided"
    assert "reached" in result.why


# the correction for several claims


def test_a_verdict_that_does_not_hold_after_the_correction_is_marked() -> None:
    cells, values = both(), rises(lambda s: 20.0 if s < 9 else 1.2)
    study = build_study(cells, override=values, samples=0, claims_sha256=claims_sha256())
    judged = judge(to_frames(study))
    assert printed_verdicts(judged)["verdict"][0] == "supported, not after Holm's correction"
    content = verdicts_json(judged)
    first = content["claims"][0]
    assert (content["schema"], first["verdict"], first["holds_corrected"]) == (2, "supported", False)
    assert first["p_holm"] == pytest.approx(8 * first["p_value"])  # the second smallest of nine, after C8
