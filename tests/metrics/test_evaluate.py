"""All metrics of a flow at once."""

import math

import numpy as np
import pytest
import torch

from nllgen.data.logits import from_logits
from nllgen.flow import RealNVP
from nllgen.metrics.evaluate import EvalSet, Evaluator
from nllgen.metrics.exact import log_densities
from nllgen.metrics.lenet import LeNetExtractor
from nllgen.store.layout import EVAL_COLUMNS, FINAL_COLUMNS
from nllgen.study.config import FlowConfig
from nllgen.train.streams import generator

CPU = torch.device("cpu")
FLOW = FlowConfig(shape=(1, 28, 28), width=2, blocks=0, scales=1)


def latents(purpose):
    return generator(CPU, 0, "eval", purpose)


@pytest.fixture(scope="module")
def truth():
    torch.manual_seed(0)
    flow = RealNVP(FLOW).requires_grad_(False)
    for parameter in flow.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return flow


@pytest.fixture(scope="module")
def evaluator(truth):
    def drawn(seed, n=150):
        x = truth.sample(n, torch.Generator().manual_seed(seed))
        return EvalSet(x, log_p=log_densities(truth, x))

    sets = {split: drawn(seed) for seed, split in enumerate(("train", "val", "test"))}
    return Evaluator(sets, truth, (LeNetExtractor("cpu"),), 100, lambda x: from_logits(x, 1e-6), latents)


def test_the_truth_has_no_divergence_from_itself(evaluator, truth):
    row = evaluator.measure(truth)
    assert [row[name] for name in ("kl_nats", "kl_se_nats", "reverse_kl_nats", "overfit_nats")] == [0, 0, 0, 0]
    assert row["jsd_nats"] == pytest.approx(0, abs=1e-12)


def test_another_flow_diverges_in_every_measure(evaluator):
    torch.manual_seed(1)
    row = evaluator.measure(RealNVP(FLOW))
    assert row["kl_nats"] > 5 * row["kl_se_nats"]
    assert row["reverse_kl_nats"] > 5 * row["reverse_kl_se_nats"]
    assert 0 < row["jsd_nats"] <= math.log(2)


def test_kl_and_nll_are_means_over_the_same_images(evaluator, truth):
    torch.manual_seed(1)
    flow = RealNVP(FLOW)
    row = evaluator.measure(flow)
    assert row["kl_nats"] == pytest.approx(row["val_nll_nats"] + evaluator.sets["val"].log_p.mean())


def test_measuring_twice_gives_the_same_numbers(evaluator, truth):
    torch.manual_seed(1)
    flow = RealNVP(FLOW)
    assert evaluator.measure(flow, "test") == evaluator.measure(flow, "test")


def test_measuring_changes_neither_the_flow_nor_the_global_generator(evaluator, truth):
    before, state = torch.random.get_rng_state(), [p.clone() for p in truth.parameters()]
    evaluator.measure(truth)
    evaluator.numerical_errors(truth)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(state, truth.parameters(), strict=True))


def test_every_name_is_a_column_of_the_layout(evaluator, truth):
    assert set(evaluator.measure(truth, "val")) <= set(EVAL_COLUMNS)
    assert set(evaluator.measure(truth, "test") | evaluator.numerical_errors(truth)) <= set(FINAL_COLUMNS)


def test_a_flow_that_is_not_finite_is_measured_as_nan_not_as_a_crash(evaluator):
    flow = RealNVP(FLOW)
    with torch.no_grad():
        next(flow.parameters()).fill_(math.nan)
    row = evaluator.measure(flow)
    assert all(math.isnan(row[name]) for name in ("kl_nats", "val_nll_nats", "frechet_lenet"))
    assert row["frechet_floor_lenet"] >= 0


def test_the_floor_is_the_distance_of_the_truth_to_itself_at_equal_n(evaluator, truth):
    row = evaluator.measure(truth)
    assert row["frechet_floor_lenet"] > 0
    assert row["frechet_lenet"] < 10 * row["frechet_floor_lenet"]


def test_bits_per_dim_follow_the_definition(truth):
    x = truth.sample(50, torch.Generator().manual_seed(3))
    log_det = np.linspace(-10, 10, 50)
    sets = dict.fromkeys(("train", "val", "test"), EvalSet(x, log_det=log_det))
    row = Evaluator(sets, None, (), 10, lambda x: from_logits(x, 1e-6), latents).measure(truth)
    expected = -(log_densities(truth, x) + log_det).mean() / (784 * math.log(2))
    assert row["val_bits_per_dim"] == pytest.approx(expected)
    assert "kl_nats" not in row


def test_numerical_errors_are_below_a_thousandth_of_a_nat(evaluator, truth):
    errors = evaluator.numerical_errors(truth)
    assert 0 < errors["fp_error_nats"] < 1e-2
    assert 0 < errors["inverse_error"] < 1e-4
