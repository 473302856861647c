"""All metrics of a model: the registry, its schedule, and models without a density or other needs."""

from __future__ import annotations

import dataclasses
import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from nllgen.data.logits import from_logits
from nllgen.metrics import measurement
from nllgen.metrics.evaluate import Evaluator
from nllgen.metrics.exact import log_densities
from nllgen.metrics.lenet import LeNetExtractor
from nllgen.metrics.measurement import EvalSet, Measurement, References, Row
from nllgen.metrics.registry import GROUPS
from nllgen.models import DensityModel, Model, RealNVP
from nllgen.storage.schema import EVAL_COLUMNS, FINAL_COLUMNS, METRIC_COLUMNS
from nllgen.study.config import FlowConfig, MetricGroup, MetricsConfig
from nllgen.train.streams import generator

CPU = torch.device("cpu")
FLOW = FlowConfig(shape=(1, 14, 14), width=2, blocks=0, scales=1)  # 14 can be halved for a second scale


def latents(purpose: str) -> torch.Generator:
    return generator(CPU, 0, "eval", purpose)


def pixels(x: Tensor) -> Tensor:
    return from_logits(x, 1e-6)


def another_flow(scales: int = 1) -> RealNVP:
    torch.manual_seed(1)
    return RealNVP(FLOW.model_copy(update={"scales": scales}))


@pytest.fixture(scope="module")
def truth() -> RealNVP:
    torch.manual_seed(0)
    flow = RealNVP(FLOW).requires_grad_(False)
    for parameter in flow.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return flow


@pytest.fixture(scope="module")
def references(truth: RealNVP) -> References:
    def drawn(seed: int, n: int = 150) -> EvalSet:
        x = truth.sample(n, torch.Generator().manual_seed(seed))
        return EvalSet(x, log_p=log_densities(truth, x))

    sets = {split: drawn(seed) for seed, split in enumerate(("train", "val", "test"))}
    return References(
        sets, truth, (LeNetExtractor("cpu", 14),), {"val": 100, "test": 100}, pixels, latents, sets["train"].x
    )


@pytest.fixture(scope="module")
def evaluator(references: References) -> Evaluator:
    config = MetricsConfig()
    return Evaluator(references, ("likelihood", *config.every), ("likelihood", *config.final))


@pytest.fixture(scope="module")
def final_of_truth(evaluator: Evaluator, truth: RealNVP) -> Row:
    return evaluator.measure_final(truth)


def test_the_registry_has_every_group_of_the_configuration() -> None:
    assert set(GROUPS) == {"likelihood", *get_args(MetricGroup)}


def test_the_groups_columns_are_those_of_the_layout_each_in_one_group() -> None:
    columns = [column for group in GROUPS.values() for column in group.columns]
    assert sorted(columns) == sorted(METRIC_COLUMNS)


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_gives_the_columns_that_it_names(evaluator: Evaluator, name: str) -> None:
    row = evaluator.measure_groups(another_flow(scales=2), [name])  # one scale has no halves to draw anew
    absent = {"val_bits_per_dim"}  # of real data
    named = {c.replace("val_", "test_") for c in GROUPS[name].columns if "inception" not in c and c not in absent}
    assert set(row) == named
    assert all(math.isfinite(value) for value in row.values())


def test_the_truth_has_no_divergence_from_itself(evaluator: Evaluator, truth: RealNVP) -> None:
    row = evaluator.measure(truth)
    assert [row[name] for name in ("kl_nats", "kl_se_nats", "reverse_kl_nats", "overfit_nats")] == [0, 0, 0, 0]
    assert row["jsd_nats"] == pytest.approx(0, abs=1e-12)
    assert row["pareto_k"] == row["reverse_pareto_k"] == 0


def test_another_flow_diverges_in_every_measure(evaluator: Evaluator) -> None:
    row = evaluator.measure(another_flow())
    assert row["kl_nats"] > 5 * row["kl_se_nats"]
    assert row["reverse_kl_nats"] > 5 * row["reverse_kl_se_nats"]
    assert 0 < row["jsd_nats"] <= math.log(2)


def test_kl_and_nll_are_means_over_the_same_images(evaluator: Evaluator, references: References) -> None:
    row, log_p = evaluator.measure(another_flow()), references.sets["val"].log_p
    assert log_p is not None
    assert row["kl_nats"] == pytest.approx(row["val_nll_nats"] + log_p.mean())


def test_the_reference_is_half_the_parameters_over_the_training_images(evaluator: Evaluator) -> None:
    flow = another_flow()
    assert evaluator.measure(flow)["kl_reference_nats"] == flow.num_parameters / (2 * 150)


def test_fresh_images_have_neither_kl_reference_nor_copying_test(evaluator: Evaluator, references: References) -> None:
    fresh = dataclasses.replace(references, training=None)
    groups = [name for name in evaluator.final if name != "critic"]  # which is slow
    row = dataclasses.replace(evaluator, references=fresh).measure_groups(another_flow(), groups)
    assert math.isnan(row["kl_reference_nats"])
    assert "copying_ct_lenet" not in row


def test_measuring_twice_gives_the_same_numbers(evaluator: Evaluator) -> None:
    flow = another_flow()
    assert evaluator.measure_final(flow) == evaluator.measure_final(flow)


def test_measuring_changes_neither_the_flow_nor_the_global_generator(evaluator: Evaluator, truth: RealNVP) -> None:
    before, state = torch.random.get_rng_state(), [p.clone() for p in truth.parameters()]
    evaluator.measure(truth)
    evaluator.measure_final(truth)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(state, truth.parameters(), strict=True))


def test_every_name_is_a_column_of_the_layout(evaluator: Evaluator, truth: RealNVP, final_of_truth: Row) -> None:
    assert set(evaluator.measure(truth)) <= set(EVAL_COLUMNS)
    assert set(final_of_truth) <= set(FINAL_COLUMNS)


def test_a_flow_that_is_not_finite_is_measured_as_nan_not_as_a_crash(evaluator: Evaluator) -> None:
    flow = RealNVP(FLOW)
    with torch.no_grad():
        next(flow.parameters()).fill_(math.nan)
    row = evaluator.measure_final(flow)
    diverged = ("kl_nats", "test_nll_nats", "pareto_k", "frechet_lenet", "kid_lenet", "coverage_lenet", "fp_error_nats")
    assert all(math.isnan(row[name]) for name in diverged)
    assert row["frechet_floor_lenet"] >= 0


def test_a_model_without_a_density_is_measured_by_its_images_alone(
    evaluator: Evaluator, truth: RealNVP, final_of_truth: Row
) -> None:
    class Generator(Model):
        def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
            return truth.sample(n, generator)

    row = evaluator.measure_final(Generator())
    assert row == {name: value for name, value in final_of_truth.items() if "lenet" in name or "critic" in name}


def test_a_foreign_density_has_all_metrics_except_numerical_errors(
    evaluator: Evaluator, truth: RealNVP, final_of_truth: Row
) -> None:
    class Foreign(DensityModel):
        def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
            return truth.sample(n, generator)

        def log_prob(self, x: Tensor) -> Tensor:
            return truth.log_prob(x)

    row = evaluator.measure_final(Foreign())
    missing = {"fp_error_nats", "inverse_error"}
    assert set(final_of_truth) - set(row) == missing
    assert row.pop("kl_reference_nats") == 0  # this one has no parameters of its own
    assert row == {name: final_of_truth[name] for name in row}


@pytest.mark.parametrize("metric", ["frechet", "kid", "frechet_inf"])
def test_the_floor_is_what_the_truth_gets_at_equal_n(evaluator: Evaluator, truth: RealNVP, metric: str) -> None:
    own, wrong = (evaluator.measure_groups(flow, [metric]) for flow in (truth, another_flow()))
    floor = own[f"{metric}_floor_lenet"]
    assert wrong[f"{metric}_floor_lenet"] == floor
    assert abs(own[f"{metric}_lenet"] - floor) < 0.3 * (wrong[f"{metric}_lenet"] - floor)


def test_there_is_no_floor_with_fewer_held_out_images_than_samples(
    evaluator: Evaluator, references: References, truth: RealNVP
) -> None:
    more = dataclasses.replace(references, num_samples={"val": 151, "test": 151}, _cache={})
    row = dataclasses.replace(evaluator, references=more).measure(truth)
    assert math.isfinite(row["frechet_lenet"])
    assert math.isnan(row["frechet_floor_lenet"])


def test_each_split_has_its_own_number_of_samples(evaluator: Evaluator, references: References, truth: RealNVP) -> None:
    own = dataclasses.replace(references, num_samples={"val": 40, "test": 90}, _cache={})
    for split, num in own.num_samples.items():
        measured = Measurement(own, truth, split)
        assert len(measured.samples) == len(measured.r_samples) == num
    row, fewer = (
        dataclasses.replace(evaluator, references=dataclasses.replace(own, num_samples=num, _cache={})).measure(truth)
        for num in ({"val": 100, "test": 90}, own.num_samples)
    )
    assert row["val_nll_nats"] == fewer["val_nll_nats"]
    assert fewer["frechet_floor_lenet"] > row["frechet_floor_lenet"]  # the bias of fewer images


@pytest.mark.parametrize("levels", [False, True], ids=["logits", "levels"])
def test_features_of_many_images_are_taken_in_parts(
    references: References, monkeypatch: pytest.MonkeyPatch, levels: bool
) -> None:
    x = references.training
    assert x is not None
    x = (256 * pixels(x)).to(torch.uint8) if levels else x
    lenet = references.extractors[0]
    whole = references.features_of(lenet, x)
    monkeypatch.setattr(measurement, "_CHUNK", 40)
    parts = dataclasses.replace(references, training=x, _cache={}).training_features(lenet)
    assert parts.shape == (150, lenet.dim)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-5)


def test_bits_per_dim_follow_the_definition(truth: RealNVP) -> None:
    x = truth.sample(50, torch.Generator().manual_seed(3))
    log_det = np.linspace(-10, 10, 50)
    sets = dict.fromkeys(("train", "val", "test"), EvalSet(x, log_det=log_det))
    references = References(sets, None, (), {"val": 10, "test": 10}, pixels, latents)
    row = Evaluator(references, ("likelihood", "divergence"), ()).measure(truth)
    expected = -(log_densities(truth, x) + log_det).mean() / (196 * math.log(2))
    assert row["val_bits_per_dim"] == pytest.approx(expected)
    assert "kl_nats" not in row


def test_numerical_errors_are_below_a_thousandth_of_a_nat(evaluator: Evaluator, truth: RealNVP) -> None:
    errors = evaluator.measure_groups(truth, ["numerics"])
    assert 0 < errors["fp_error_nats"] < 1e-2
    assert 0 < errors["inverse_error"] < 1e-4
