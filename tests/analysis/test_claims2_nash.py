"""Version 2: C2, on games that start at the truth, in studies with known verdicts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nllgen.study.config import (
    Cell,
    FlowConfig,
    NLLConfig,
    NoiseConfig,
    NSGANConfig,
    OracleConfig,
)
from tests.analysis.claims_known import NASH, BySeed, cell, finding
from tests.analysis.conftest import STEPS, Override


def nash(seeds: int = 5, num: Any = "fresh", controls: tuple[str, ...] = ("nll", "noise"), **game: Any) -> list[Cell]:
    kinds = [NSGANConfig(steps=STEPS, eval_every=100, **game)]
    kinds += [NLLConfig(steps=STEPS, eval_every=100, **NASH)] if "nll" in controls else []  # type: ignore[list-item]
    kinds += [NoiseConfig(steps=STEPS, eval_every=100)] if "noise" in controls else []  # type: ignore[list-item]
    return [cell(kind, seed, start="truth", num=num) for kind in kinds for seed in range(seeds)]


def left(gan: BySeed, noise: BySeed = lambda s: 10.0, nll: BySeed = lambda s: 1.0) -> Override:
    by_name = {"nsgan": gan, "noise": noise, "nll": nll}
    return lambda cell, step: {"kl_nats": by_name[cell.paradigm.name](cell.seed) * np.asarray(step, float) / STEPS}


@pytest.mark.parametrize(
    ("gan", "expected"), [(lambda s: 100.0 * 10**s, "supported"), (lambda s: 20.0 + s, "refuted"),
                          (lambda s: 10.0 + 20 * s, "undecided")]
)  # fmt: skip
def test_c2_is_three_times_the_larger_control(gan: BySeed, expected: str) -> None:
    result = finding("C2", nash(), left(gan))
    logs = np.log([gan(s) / 30 for s in range(5)])
    assert result.verdict == expected
    assert result.effect == pytest.approx(logs.mean())
    assert result.p_value == pytest.approx(stats.ttest_1samp(logs, 0).pvalue)
    assert len(result.cells) == 15


def test_c2_is_refuted_where_noise_goes_as_far() -> None:
    assert finding("C2", nash(), left(lambda s: 20.0 + s, nll=lambda s: 0.1)).verdict == "refuted"


@pytest.mark.parametrize(("controls", "why"), [(("nll",), "no control by noise"), (("noise",), "no control by NLL")])
def test_c2_needs_both_controls(controls: tuple[str, ...], why: str) -> None:
    result = finding("C2", nash(controls=controls), left(lambda s: 100.0 + s))
    assert result.verdict == "undecided"
    assert why in result.why


def test_c2_a_control_without_a_value_is_no_control() -> None:
    result = finding("C2", nash(), left(lambda s: 100.0 + s, noise=lambda s: math.nan))
    assert (result.verdict, result.num_seeds) == ("undecided", 0)


@pytest.mark.parametrize("game", [{"disc_start": "pretrained"}, {"r1_gamma": 1.0}])
def test_c2_other_settings_are_shown_and_not_counted(game: dict[str, Any]) -> None:
    result = finding("C2", nash(**game), left(lambda s: 100.0 + s))
    assert result.verdict == "undecided"
    assert [part.verdict for part in result.parts if "(not counted)" in part.label] == ["supported"]
    assert finding("C2", nash(num=1000), left(lambda s: 100.0 + s)).verdict == "undecided"


def test_c2_diverged_runs_count_with_their_last_kl() -> None:
    result = finding("C2", nash(), left(lambda s: 1000.0), diverged=(0, 1))
    assert (result.verdict, result.num_seeds) == ("supported", 5)
    assert "2 of 5 runs diverged" in result.why


def test_c2_a_control_below_its_error_counts_with_it() -> None:
    values = left(lambda s: 30.0 + s, lambda s: -0.01, lambda s: -0.01)
    result = finding("C2", nash(), lambda cell, step: values(cell, step) | {"kl_se_nats": 0.5})
    assert result.effect == pytest.approx(np.mean(np.log((30 + np.arange(5)) / 1.5)))


def test_a_flow_of_another_size_is_no_control() -> None:
    wide = FlowConfig(shape=(1, 14, 14), width=8)
    cells = [each.model_copy(update={"flow": wide}) if each.paradigm.name == "noise" else each for each in nash()]
    assert "no control by noise" in finding("C2", cells, left(lambda s: 100.0 + s)).why


def perturbed(noise: float, controls_noise: float) -> list[Cell]:
    """Return an oracle that starts near the truth, with controls whose start has a noise of its own."""
    kinds: list[Any] = [OracleConfig(steps=STEPS, eval_every=100), NLLConfig(steps=STEPS, eval_every=100, **NASH)]
    kinds.append(NoiseConfig(steps=STEPS, eval_every=100))
    cells = [cell(kind, seed, start="truth", num="fresh") for kind in kinds for seed in range(5)]
    return [
        each.model_copy(update={"start_noise": noise if each.paradigm.name == "nsgan_oracle" else controls_noise})
        for each in cells
    ]


def test_c2_shows_the_oracle_from_a_perturbed_truth_beside_controls_from_there() -> None:
    values: Override = lambda cell, step: {"kl_nats": np.asarray(step, float) / STEPS * (1 + cell.seed)}  # noqa: E731
    parts = finding("C2", perturbed(0.02, 0.02), values).parts
    assert [part.label for part in parts if "(not counted)" in part.label and "W near truth" in part.label]
    assert not finding("C2", perturbed(0.02, 0.0), values).parts


def test_c2_does_not_count_a_game_that_starts_beside_the_truth() -> None:
    cells = [each.model_copy(update={"start_noise": 0.02}) for each in nash()]
    result = finding("C2", cells, left(lambda s: 100.0 * 10**s))
    assert result.verdict == "undecided"
    assert len(result.parts) == 1
