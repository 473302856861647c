"""Every claim on studies whose answer is known: supported, refuted and undecided, and why."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from nllgen_analysis.claims import judge
from nllgen_analysis.claims.rules import load_rules
from nllgen_analysis.claims.tables import verdict_lines, verdicts_json, verdicts_table
from nllgen_analysis.frames import to_frames
from scipy import stats

from nllgen.errors import CorruptFileError
from nllgen.study.builtin import builtin_names, builtin_path
from nllgen.study.claims import claims_rules, claims_sha256
from nllgen.study.config import Cell, DataConfig, DCGANConfig, NSGANConfig
from nllgen.study.grid import load_study

from .conftest import STEPS, build_study, make_cell

SEEDS = 5
NASH = {"lr": 2e-4, "beta1": 0.5, "schedule": "constant"}


def verdicts(cells, override=None, **settings):
    """Claim id → verdict, of a study with these cells and values."""
    settings = {"samples": 0} | settings
    judged = judge(to_frames(build_study(cells, override=override, **settings)))
    return {row.id: row for row in judged.rows}


def finding(claim, cells, override=None, **settings):
    return verdicts(cells, override, **settings)[claim].finding


def degrees(*names, seeds=SEEDS, **settings):
    return [make_cell(name, seed=seed, **settings) for name in names for seed in range(seeds)]


def both(source="synthetic", seeds=SEEDS, nll=None, nsgan=None):
    """W by NLL, then by NSGAN."""
    return [
        make_cell("W", paradigm, seed=seed, source=source, **(settings or {}))
        for paradigm, settings in (("nll", nll), ("nsgan", nsgan))
        for seed in range(seeds)
    ]


def dcgan(seed=0):
    data = DataConfig(source="mnist", image_size=14, num_train="all")
    return Cell(
        data=data, dcgan=DCGANConfig(shape=(1, 14, 14)), paradigm=NSGANConfig(steps=STEPS, eval_every=100), seed=seed
    )


def is_gan(cell):
    return cell.paradigm.name == "nsgan"


# C0


def scatter(of_gan, of_nll):
    """Fréchet values that jump up and down by an amplitude that depends on the seed."""

    def values(cell, step):
        sign = np.where(np.asarray(step) // 100 % 2 == 0, 1.0, -1.0)
        return {"frechet_lenet": 50 + sign * (of_gan if is_gan(cell) else of_nll)(cell.seed)}

    return values


def test_c0_is_supported_where_the_gan_scatters_more():
    found = finding("C0", both(), scatter(lambda s: 5 + s, lambda s: 1))
    logs = np.log(5 + np.arange(5))
    interval = stats.t.interval(0.95, 4, logs.mean(), stats.sem(logs))
    assert found.verdict == "supported"
    assert (found.effect, found.low, found.high) == pytest.approx((logs.mean(), *interval))
    assert found.num_seeds == 5


def test_c0_is_refuted_where_it_scatters_less():
    assert finding("C0", both(), scatter(lambda s: 1, lambda s: 5 + s)).verdict == "refuted"


def test_c0_is_undecided_where_seeds_disagree():
    found = finding("C0", both(), scatter(lambda s: (0.5, 2, 0.5, 2, 1)[s % 5], lambda s: 1))
    assert found.verdict == "undecided"
    assert "reaches across 0" in found.why


def test_c0_is_supported_by_divergence():
    found = finding("C0", both(), scatter(lambda s: 1, lambda s: 5), diverged=(5, 6, 7))
    assert (found.verdict, found.effect, found.unit) == ("supported", 0.6, "share diverged")


def test_c0_is_not_refuted_where_a_run_diverged():
    found = finding("C0", both(), scatter(lambda s: 1, lambda s: 5 + s), diverged=(5,))
    assert found.verdict == "undecided"
    assert "1 of 5 runs diverged" in found.why


def test_c0_one_divergence_does_not_cost_the_interval():
    assert finding("C0", both(), scatter(lambda s: 5 + s, lambda s: 1), diverged=(5,)).verdict == "supported"


def test_c0_is_undecided_where_nll_diverges_as_often():
    assert finding("C0", both(), diverged=tuple(range(10))).verdict == "undecided"


def test_c0_without_scatter_on_either_side_is_undecided():
    found = finding("C0", both(), scatter(lambda s: 0, lambda s: 0))
    assert found.verdict == "undecided"
    assert "0 of 5 planned seeds" in found.why


def test_c0_regularised_runs_do_not_count():
    found = finding("C0", both(nsgan={"r1_gamma": 10.0}), scatter(lambda s: 5, lambda s: 1))
    assert found.verdict == "undecided"
    assert "plain NSGAN" in found.why


def test_c0_takes_the_best_of_several_learning_rates():
    wild = [make_cell("W", "nsgan", seed=s, lr=1e-2) for s in range(SEEDS)]

    def values(cell, step):
        known = scatter(lambda s: 1, lambda s: 5 + s)(cell, step)["frechet_lenet"]
        return {"frechet_lenet": 100 + known * 9 if cell.paradigm.lr == 1e-2 else known}

    assert finding("C0", [*both(), *wild], values).verdict == "refuted"


# C1


def quality(ratio, control=15.0):
    """NLL's Fréchet is a ratio of NSGAN's, which depends on the seed; the control reaches a value."""

    def values(cell, step):
        gan = 40.0 + cell.seed
        value = control if cell.dcgan is not None else gan if is_gan(cell) else gan * ratio(cell.seed)
        return {"frechet_lenet": value}

    return values


@pytest.mark.parametrize(
    ("ratio", "expected"), [(lambda s: 1.1 + s / 100, "supported"), (lambda s: 2 + s / 100, "refuted"),
                            (lambda s: (1.2, 1.8, 1.4, 1.6, 1.5)[s % 5], "undecided")]
)  # fmt: skip
def test_c1_is_the_ratio_of_frechet_distances(ratio, expected):
    assert finding("C1", [*both("mnist"), dcgan()], quality(ratio)).verdict == expected


def test_c1_effect_is_the_mean_log_ratio():
    # the averaged weights of the synthetic study are 1 better on validation, so that they stand for NSGAN
    found = finding("C1", [*both("mnist"), dcgan()], quality(lambda s: 1.1))
    assert found.effect == pytest.approx(math.log(1.1))
    assert found.low == pytest.approx(found.high)


@pytest.mark.parametrize(("cells", "control", "why"), [([], 15.0, "no positive control"), ([dcgan()], 24.0, "reached")])
def test_c1_is_undecided_without_a_control_that_works(cells, control, why):
    found = finding("C1", [*both("mnist"), *cells], quality(lambda s: 1.1, control))
    assert found.verdict == "undecided"
    assert why in found.why


def test_c1_is_undecided_where_the_control_is_missing():
    cells = [*both("mnist"), dcgan()]
    found = finding("C1", cells, quality(lambda s: 1.1), missing=(len(cells) - 1,))
    assert found.verdict == "undecided"
    assert "control has no result" in found.why


def test_c1_is_undecided_by_unequal_tuning():
    more = [make_cell("W", "nsgan", seed=s, source="mnist", lr=1e-4) for s in range(SEEDS)]
    found = finding("C1", [*both("mnist"), *more, dcgan()], quality(lambda s: 1.1))
    assert found.verdict == "undecided"
    assert "1 configurations of NLL and 2 of NSGAN" in found.why


def test_c1_takes_the_better_of_equally_many_configurations():
    more = [make_cell("W", p, seed=s, source="mnist", lr=1e-4) for p in ("nll", "nsgan") for s in range(SEEDS)]

    def values(cell, step):
        known = quality(lambda s: 1.2)(cell, step)["frechet_lenet"]
        return {"frechet_lenet": known * (3 if cell.paradigm.lr == 1e-4 else 1)}

    found = finding("C1", [*both("mnist"), *more, dcgan()], values)
    assert (found.verdict, found.effect) == ("supported", pytest.approx(math.log(1.2)))


# C2


def nash(seeds=SEEDS, **settings):
    return [make_cell("W", "nsgan", seed=s, start="truth", **settings) for s in range(seeds)] + [
        make_cell("W", "nll", seed=s, start="truth", **NASH) for s in range(seeds)
    ]


def left(gan, control=lambda s: 1.0):
    return lambda cell, step: {
        "kl_nats": (gan if is_gan(cell) else control)(cell.seed) * np.asarray(step, float) / STEPS
    }


@pytest.mark.parametrize(
    ("gan", "expected"), [(lambda s: 30 + s, "supported"), (lambda s: 2 + s / 10, "refuted"),
                          (lambda s: 1 + s, "undecided")]
)  # fmt: skip
def test_c2_is_three_times_the_control(gan, expected):
    found = finding("C2", nash(), left(gan))
    assert found.verdict == expected
    assert found.effect == pytest.approx(np.mean([gan(s) - 3 for s in range(5)]))


def test_c2_is_refuted_by_a_tie():
    found = finding("C2", nash(), left(lambda s: 3.0))
    assert (found.verdict, found.low, found.high) == ("refuted", 0.0, 0.0)


def test_c2_a_control_below_zero_is_no_obstacle():
    # an estimate of a KL near 0 may be negative, and has no ratio
    assert finding("C2", nash(), left(lambda s: 5.0 + s, lambda s: -0.01)).verdict == "supported"


def test_c2_diverged_runs_count_with_their_last_kl():
    found = finding("C2", nash(), left(lambda s: 30.0), diverged=(0, 1))
    assert (found.verdict, found.num_seeds) == ("supported", 5)
    assert found.low < 27 * 0.4 + 9 < found.high or found.effect == pytest.approx((3 * 27 + 2 * (12 - 3)) / 5)


def test_c2_is_supported_where_every_run_diverged():
    found = finding("C2", nash(), left(lambda s: 1.0), diverged=tuple(range(5)))
    assert (found.verdict, found.unit) == ("supported", "share diverged")


def test_c2_needs_a_control_with_the_same_optimiser():
    cells = [cell for cell in nash() if is_gan(cell)]
    cells += [make_cell("W", "nll", seed=s, start="truth", **(NASH | {"beta1": 0.9})) for s in range(SEEDS)]
    found = finding("C2", cells, left(lambda s: 30))
    assert found.verdict == "undecided"
    assert "has no partner" in found.why


def test_c2_other_learning_rates_are_shown_and_not_counted():
    other = [make_cell("W", "nsgan", seed=s, start="truth", lr=1e-3) for s in range(SEEDS)]
    other += [make_cell("W", "nll", seed=s, start="truth", **(NASH | {"lr": 1e-3})) for s in range(SEEDS)]
    values = lambda cell, step: left(lambda s: 30.0 if cell.paradigm.lr == 1e-3 else 1.0)(cell, step)  # noqa: E731
    found = finding("C2", [*nash(), *other], values)
    assert found.verdict == "refuted"
    assert [part.verdict for part in found.parts if "(not counted)" in part.label] == ["supported"]


# C3

LADDER = ("U2", "U1", "W", "O1", "O2")
ORDERED = {"U2": 40.0, "U1": 30.0, "W": 20.0, "O1": 10.0, "O2": 0.0}
JITTER = {
    "U2": (0, 1, 2, 1, 0),
    "U1": (1, 0, 1, 2, 1),
    "W": (0, 0, 1, 1, 2),
    "O1": (2, 1, 0, 1, 0),
    "O2": (1, 1, 0, 0, 2),
}


def ends(levels, jitter=1.0, column="train_nll_nats"):
    """A fall by 100 nats to the degree's level, and a jitter by seed."""

    def values(cell, step):
        fall = 100 * (1 - np.asarray(step, float) / STEPS) ** 2
        return {column: levels[cell.degree] + jitter * JITTER[cell.degree][cell.seed % 5] + fall}

    return values


def test_c3_is_supported_by_the_whole_order():
    found = finding("C3", degrees(*LADDER), ends(ORDERED))
    assert found.verdict == "supported"
    assert [part.label for part in found.parts] == ["U2 − U1", "U1 − W", "W − O1", "O1 − O2"]


def test_c3_intervals_are_those_of_scipy_with_bonferroni():
    part = finding("C3", degrees(*LADDER), ends(ORDERED)).parts[0]
    differences = 10 + np.subtract(JITTER["U2"], JITTER["U1"])
    interval = stats.ttest_1samp(differences, 0).confidence_interval(1 - 0.05 / 4)
    assert (part.effect, part.low, part.high) == pytest.approx((differences.mean(), *interval))
    assert part.confidence == pytest.approx(0.9875)


def test_c3_is_refuted_by_one_reversed_step():
    found = finding("C3", degrees(*LADDER), ends(ORDERED | {"W": 35.0}))
    assert found.verdict == "refuted"
    assert found.why.startswith("N = 1,000: U1 − W:")


def test_c3_is_undecided_where_a_step_is_small():
    assert finding("C3", degrees(*LADDER), ends(ORDERED, jitter=10)).verdict == "undecided"


def test_c3_leaves_out_an_optional_rung_with_one_seed_and_says_so():
    found = finding("C3", [*degrees("U2", "U1", "W", "O1"), make_cell("O2")], ends(ORDERED))
    assert found.verdict == "supported"
    assert len(found.parts) == 3
    assert "O2 in N = 1,000, planned with fewer than 5 seeds" in found.why


def test_c3_depends_on_the_setting_where_two_disagree():
    cells = degrees(*LADDER) + degrees(*LADDER, num=500)
    values = lambda cell, step: ends(ORDERED if cell.data.num_train == 500 else ORDERED | {"W": 35.0})(cell, step)  # noqa: E731
    found = finding("C3", cells, values)
    assert found.verdict == "undecided"
    assert "N = 1,000: refuted; N = 500: supported" in found.why


def test_c3_fresh_samples_are_no_finite_set():
    assert "none of the settings" in finding("C3", degrees(*LADDER, num="fresh"), ends(ORDERED)).why


def test_degrees_are_known_by_their_flow_and_not_by_their_label():
    cells = [cell.model_copy(update={"degree": "custom"}) for cell in degrees(*LADDER)]
    by_width = {cell.flow: cell.degree for cell in degrees(*LADDER, seeds=1)}
    values = lambda cell, step: ends(ORDERED)(cell.model_copy(update={"degree": by_width[cell.flow]}), step)  # noqa: E731
    assert finding("C3", cells, values).verdict == "supported"


# C4


def shapes(exponent):
    """Curves (1 − t)^exponent, that depends on degree and seed."""
    return lambda cell, step: {
        "train_nll_nats": 100 * (1 - np.asarray(step, float) / STEPS) ** exponent(cell.degree, cell.seed)
    }


@pytest.mark.parametrize(
    ("exponent", "expected"), [(lambda d, s: 2 + s / 10, "supported"), (lambda d, s: 8 if d == "O1" else 1, "refuted"),
                               (lambda d, s: (1.2 + s / 5) if d == "O1" else 1, "undecided")]
)  # fmt: skip
def test_c4_is_the_distance_of_normalised_curves(exponent, expected):
    assert finding("C4", degrees(*LADDER), shapes(exponent)).verdict == expected


def test_c4_effect_is_the_largest_distance():
    found = finding("C4", degrees(*LADDER), shapes(lambda d, s: 2 if d == "O1" else 1))
    assert found.effect == pytest.approx(0.25)  # t − t² at ½
    assert found.verdict == "refuted"


def test_c4_a_curve_that_does_not_fall_is_no_curve():
    found = finding("C4", degrees(*LADDER), lambda cell, step: {"train_nll_nats": np.asarray(step, float)})
    assert found.verdict == "undecided"
    assert "does not fall" in found.why


# C5


@pytest.mark.parametrize(("level", "expected"), [(35.0, "supported"), (20.0, "refuted"), (30.0, "undecided")])
def test_c5_is_the_well_specified_model_worse_than_a_smaller_one(level, expected):
    levels = ORDERED | {"W": level}
    assert finding("C5", degrees("U2", "U1", "W"), ends(levels, column="val_nll_nats")).verdict == expected


def test_c5_a_tie_in_every_seed_is_not_worse():
    found = finding("C5", degrees("U1", "W"), ends({"U1": 30.0, "W": 30.0}, 0, "val_nll_nats"))
    assert (found.verdict, found.effect) == ("refuted", 0.0)


# C6


def harms(nll, frechet):
    """Falls from 100 to 0 at half of the steps, and rises to the harm at the end."""

    def curve(step, harm):
        half = STEPS / 2
        return np.where(step <= half, 100 * (1 - step / half), 100 * harm * (step - half) / half)

    def values(cell, step):
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
def test_c6_is_the_difference_of_harms(nll, frechet, expected):
    found = finding("C6", degrees("W"), harms(nll, frechet))
    assert found.verdict == expected
    assert found.effect == pytest.approx(np.mean([nll(s) - frechet(s) for s in range(5)]))


def test_c6_says_that_a_model_has_not_overfitted():
    found = finding("C6", degrees("W"), harms(lambda s: 0.01, lambda s: 0.0))
    assert found.verdict == "undecided"
    assert "has not overfitted" in found.why


def test_c6_is_judged_where_a_model_has_overfitted():
    values = lambda cell, step: harms(lambda s: 0.8 if cell.data.num_train == 500 else 0.0, lambda s: 0.0)(cell, step)  # noqa: E731
    found = finding("C6", degrees("W") + degrees("W", num=500), values)
    assert found.verdict == "supported"
    assert "N = 1,000 has not overfitted" in found.why


# C7


def over(worse=True, scale=1.0):
    """O1 and O2 beside W in curve, scatter, gap and image; ``worse`` or better by a factor."""

    def values(cell, step):
        step = np.asarray(step, float)
        large = cell.degree != "W"
        factor = 1 + 0.02 * cell.seed + (scale if large == worse else 0)
        sign = np.where(step // 100 % 2 == 0, 1.0, -1.0)
        train = 100 * (1 - step / STEPS) ** (4 / factor)
        return {"train_nll_nats": train, "val_nll_nats": train + 10 * factor * step / STEPS,
                "frechet_lenet": 20 * factor + sign * factor}  # fmt: skip

    return values


def test_c7_has_four_parts_that_can_all_be_supported():
    found = verdicts(degrees("W", "O1", "O2"), over())
    assert {id: row.finding.verdict for id, row in found.items() if id.startswith("C7")} == dict.fromkeys(
        ("C7", "C7a", "C7b", "C7c", "C7d"), "supported"
    )


def test_c7_has_four_parts_that_can_all_be_refuted():
    found = verdicts(degrees("W", "O1", "O2"), over(worse=False))
    assert {found[id].finding.verdict for id in ("C7", "C7a", "C7b", "C7c", "C7d")} == {"refuted"}


def test_c7_is_undecided_where_nothing_differs_but_the_seeds():
    def values(cell, step):
        lucky = (cell.seed + (cell.degree != "W")) % 2
        return over(scale=0)(cell, step) | {"frechet_lenet": 20.0 + 30 * lucky + np.asarray(step) % 200 / (1 + lucky)}

    found = verdicts(degrees("W", "O1", seeds=6), values)
    assert found["C7b"].finding.verdict == "undecided"
    assert found["C7d"].finding.verdict == "undecided"
    assert found["C7"].finding.verdict == "refuted"  # no gap more than W's


def test_c7_is_a_conjunction():
    values = lambda cell, step: over()(cell, step) | {"frechet_lenet": 20.0 + np.asarray(step) % 200}  # noqa: E731
    found = verdicts(degrees("W", "O1", "O2"), values)
    assert found["C7d"].finding.verdict == "refuted"
    assert found["C7"].finding.verdict == "refuted"
    assert found["C7c"].finding.verdict == "supported"


def test_c7_judges_o1_alone_where_o2_has_one_seed():
    found = finding("C7c", [*degrees("W", "O1"), make_cell("O2")], over())
    assert found.verdict == "supported"
    assert "O2 in N = 1,000" in found.why


def test_c7a_does_not_compare_devices():
    study = build_study(degrees("W", "O1"), override=over(), samples=0)
    study.cells["device"][:5] = "cuda"
    found = next(row for row in judge(to_frames(study)).rows if row.id == "C7a").finding
    assert found.verdict == "undecided"
    assert "another device" in found.why


def test_c7d_small_differences_are_not_worse():
    # half a floor (0.7) in every seed
    values = lambda cell, step: {"frechet_lenet": 20 + 0.35 * (cell.degree != "W")}  # noqa: E731
    found = finding("C7d", degrees("W", "O1"), values)
    assert (found.verdict, found.effect) == ("refuted", pytest.approx(0.5))


# C8


def related(signs):
    """NLL rises by degree, the Fréchet distance by its sign."""
    place = {"U1": 0, "W": 1, "O1": 2}
    return lambda cell, step: {
        "val_nll_nats": 10.0 * place[cell.degree] + 0.01 * JITTER[cell.degree][cell.seed % 5],
        "frechet_lenet": 10.0 * signs * place[cell.degree] + 0.01 * JITTER[cell.degree][cell.seed % 5],
    }


@pytest.mark.parametrize(("signs", "expected"), [(-1, "supported"), (1, "refuted"), (0, "undecided")])
def test_c8_is_a_pair_of_opposite_signs(signs, expected):
    found = finding("C8", degrees("U1", "W", "O1"), related(signs))
    assert found.verdict == expected


def test_c8_one_pair_shows_no_relation():
    assert finding("C8", degrees("U1", "W"), related(1)).verdict == "undecided"
    assert finding("C8", degrees("U1", "W"), related(-1)).verdict == "supported"


def test_c8_shares_the_error_between_all_pairs():
    part = finding("C8", degrees("U1", "W", "O1"), related(-1)).parts[0]
    assert part.confidence == pytest.approx(1 - 0.05 / 6)


# all of them


ALL = [
    *degrees(*LADDER), *both("mnist"), dcgan(), *nash(), *[make_cell("W", "nsgan", seed=s) for s in range(SEEDS)],
]  # fmt: skip


@pytest.mark.parametrize("kept", [[], ALL[:1], ALL[::5], degrees("W", seeds=4)])
def test_too_little_is_undecided_and_says_why(kept):
    cells = kept or [make_cell("W*")]
    for row in verdicts(cells).values():
        assert row.finding.verdict == "undecided", row.id
        assert row.finding.why


@pytest.mark.parametrize("outcome", ["missing", "diverged"])
def test_a_study_without_a_finished_run_is_undecided_but_for_divergence(outcome):
    found = verdicts(ALL, **{outcome: tuple(range(len(ALL)))})
    assert {row.finding.verdict for row in found.values()} == {"undecided"}
    assert found["C3"].finding.cells  # what was asked is named, with results or without


def test_columns_of_nan_are_undecided():
    columns = ("train_nll_nats", "val_nll_nats", "kl_nats", "frechet_lenet", "frechet_floor_lenet")
    found = verdicts(ALL, lambda cell, step: dict.fromkeys(columns, math.nan))
    assert {row.finding.verdict for row in found.values()} == {"undecided"}
    assert "no finite value" in found["C3"].finding.why


def test_infinite_values_are_no_values():
    found = finding("C5", degrees("U1", "W"), lambda cell, step: {"val_nll_nats": math.inf})
    assert (found.verdict, found.num_seeds) == ("undecided", 0)


def test_a_missing_seed_is_named():
    cells = degrees("U1", "W")
    found = finding("C5", cells, ends(ORDERED, column="val_nll_nats"), missing=(7,))
    assert found.verdict == "undecided"
    assert f"seed 2: {cells[7].id} missing" in found.why


@pytest.mark.parametrize(
    ("registered", "status"), [("", "unregistered"), (claims_sha256(), "registered"), ("0" * 64, "changed")]
)
def test_the_report_knows_whether_the_rules_were_registered(registered, status):
    judged = judge(to_frames(build_study(degrees("W"), claims_sha256=registered, samples=0)))
    assert judged.status == status
    assert verdicts_json(judged)["rules"]["status"] == status


def test_verdicts_as_json_and_as_a_table():
    judged = judge(to_frames(build_study(ALL, samples=0)))
    content = json.loads(json.dumps(verdicts_json(judged), allow_nan=False))
    assert [claim["id"] for claim in content["claims"]] == [f"C{i}" for i in range(9)]
    assert [sub["id"] for sub in content["claims"][7]["subclaims"]] == ["C7a", "C7b", "C7c", "C7d"]
    ids = {cell.id for cell in ALL}
    assert all(set(claim["cells"]) <= ids for claim in content["claims"])
    table = verdicts_table(judged)
    assert {"C0", "C7d", "C3: U2 − U1"} <= set(table["claim"])
    assert len(verdict_lines(judged)) == 13
    assert content["claims"][1]["rule"].endswith("Registered: max_ratio = 1.5; max_control = 28: 70.0, 14: 22.0.")


def test_verdicts_do_not_depend_on_the_order_of_rows():
    study = build_study(ALL, samples=0)
    order = np.random.default_rng(1).permutation(len(study.eval["cell"]))
    mixed = replace(study, eval={name: values[order] for name, values in study.eval.items()})
    assert verdicts_json(judge(to_frames(mixed))) == verdicts_json(judge(to_frames(study)))


@pytest.mark.parametrize("name", [name for name in builtin_names("jobs") if name != "smoke"])
def test_a_study_has_the_cells_of_the_claims_that_it_serves(name):
    """Every cell is still missing: then a claim lacks results, and neither arms nor seeds."""
    study = load_study(name, precision="bf16")
    cells = list(study.cells)
    content = build_study(cells, missing=tuple(range(len(cells) + 1)), truth=study.truth or False, samples=0)
    found = {row.id: row.finding for row in judge(to_frames(content)).rows}
    header = builtin_path("jobs", name).read_text().split("\nname:")[0]
    claims = re.findall(r"C\d", header.split("# Claims: ")[1].split("\n#\n")[0])
    assert claims
    lacks = re.compile("planned (seeds have a value|pairs have results)|control has no result|are open")
    for claim in claims:
        for id in [f"C7{part}" for part in "abcd"] if claim == "C7" else [claim]:
            assert lacks.search(found[id].why), f"{id}: {found[id].why}"


@pytest.mark.parametrize("wrong", [{"C3": {}}, {"general": {"confidence": 2.0, "min_seeds": 5, "extractor": "lenet"}}])
def test_rules_that_are_none_are_a_typed_error(monkeypatch, wrong):
    monkeypatch.setattr("nllgen_analysis.claims.rules.claims_rules", lambda: claims_rules() | wrong)
    load_rules.cache_clear()
    try:
        with pytest.raises(CorruptFileError, match=r"claims\.toml"):
            load_rules()
    finally:
        load_rules.cache_clear()
