"""Effects that the rules can see, against exact results."""

from __future__ import annotations

import pytest
from nllgen_analysis.claims.power import visible_effect, visible_share
from nllgen_analysis.planned import PlannedClaim, planned_claims, power_lines
from nllgen_analysis.statistics import holm, lower_share, sign_p_value, t_p_value
from nllgen_analysis.text import number
from scipy import stats

from nllgen.study.claims import VERSION, claims_rules
from nllgen.study.config import Cell, Study
from nllgen.study.load import load_study
from nllgen.study.tuning import Tuning
from tests.analysis.test_claims2_adversarial import control, tuned, winners


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


def by_claim(grid: str) -> dict[str, PlannedClaim]:
    return {claim.claim: claim for claim in planned_claims(load_study(grid, precision="bf16"))}


def test_a_planned_study_says_what_its_seeds_can_see() -> None:
    claims = by_claim("misspec")
    assert {claim.num_seeds for id, claim in claims.items() if id in ("C3", "C4", "C5", "C6", "C7a", "C8")} == {5}
    confidence = 1 - 0.05 / 2  # two parts
    assert claims["C5"].effect == f"{number(visible_effect(0.19, 5, confidence), 2)} ln of the ratio of KLs"


def test_a_study_of_games_says_which_share_of_failing_runs_its_ten_seeds_see() -> None:
    assert by_claim("mnist")["C0a"] == PlannedClaim("C0a", 10, "a share of 92% of failing runs")


def test_claims_that_a_study_has_no_cells_for_are_named_together() -> None:
    lines = power_lines(list(by_claim("nash").values()))
    assert lines[1].startswith("  C2   5 seeds: ")
    assert lines[-1] == ("  not judged by this study's cells: C0a, C0b, C1, C3, C4, C5, C6, C7a, C7b, C7c, C7d, C8")


def test_a_part_with_too_few_evaluations_is_not_judged() -> None:
    claims = by_claim("laptop")
    assert claims["C7b"].num_seeds == 0
    assert claims["C7b"].effect.endswith(" evaluations are planned, 20 are needed")
    assert power_lines(list(claims.values()))[-1].endswith(", C7b")


def test_a_curve_of_too_few_evaluations_is_not_judged() -> None:
    study = load_study("misspec", precision="bf16")
    rare = [
        cell.model_copy(
            update={"paradigm": cell.paradigm.model_copy(update={"eval_every": cell.paradigm.steps // 3 + 1})}
        )
        for cell in study.cells
    ]
    claims = {claim.claim: claim for claim in planned_claims(study.model_copy(update={"cells": tuple(rare)}))}
    for id in ("C4", "C6"):
        assert claims[id] == PlannedClaim(id, 0, "4 evaluations are planned, 5 are needed")
    assert claims["C3"].num_seeds == 5


def with_controls(num: int, size: int = 14) -> dict[str, PlannedClaim]:
    """Return the claims of five pairs of winners with controls, whose images have a size."""
    cells = [cell for cell in winners() if cell.seed < 5]
    cells += [control().model_copy(update={"seed": seed}) for seed in range(num)]
    cells = [resized(cell, size) for cell in cells]
    study = Study(name="known", purpose="claims", tuning=tuned_at(size), cells=tuple(cells))
    return {claim.claim: claim for claim in planned_claims(study)}


def resized(cell: Cell, size: int) -> Cell:
    data = cell.data.model_copy(update={"image_size": size})
    shape = {"shape": (1, size, size)}
    if cell.flow:
        flow = cell.flow.model_copy(update=shape | {"scales": 2 if size % 2 == 0 else 1})
        return cell.model_copy(update={"data": data, "flow": flow})
    assert cell.dcgan
    return cell.model_copy(update={"data": data, "dcgan": cell.dcgan.model_copy(update=shape)})


def tuned_at(size: int) -> Tuning:
    trials = [trial.model_copy(update={"cell": resized(trial.cell, size)}) for trial in tuned().trials]
    return tuned().model_copy(update={"trials": tuple(trials)})


def test_seeds_of_a_positive_control_are_no_pairs() -> None:
    assert with_controls(10)["C1"].num_seeds == 5


@pytest.mark.parametrize(
    ("num", "size", "why"), [(0, 14, "the study has no positive control"), (5, 7, "no Fréchet distance is registered")]
)
def test_c1_without_a_control_that_counts_is_not_judged(num: int, size: int, why: str) -> None:
    claim = with_controls(num, size)["C1"]
    assert claim.num_seeds == 0
    assert why in claim.effect


def test_a_tuning_study_decides_no_claim() -> None:
    assert planned_claims(load_study("tuning", precision="bf16")) == []
    assert power_lines([]) == ["the cells of a tuning study are judged by no claim"]


@pytest.mark.parametrize("claim", ["C0", "C1", "C2", "C3", "C4", "C5", "C6", "C8", "C7.a", "C7.b", "C7.c", "C7.d"])
def test_the_effects_beside_a_rule_are_those_of_its_spread(claim: str) -> None:
    """The sentence of the file of rules, which names five and ten seeds, agrees with the spread below it."""
    value = claims_rules(VERSION)
    for name in claim.split("."):
        value = value[name]
    parts = {"C3": 3, "C4": 6, "C5": 2, "C8": 6}.get(claim, 1)
    for num in (5, 10):
        assert number(visible_effect(value["spread"], num, 1 - 0.05 / parts), 2).rstrip("0") in value["power"]
