"""The distance of a discriminator to its optimum, where the optimum is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from nllgen.metrics.densities import distance_to_optimum
from nllgen.metrics.exact import log_densities
from nllgen.metrics.measurement import EvalSet, Measurement, References
from nllgen.models import RealNVP
from nllgen.models.actnorm import ActNorm
from nllgen.study.config import FlowConfig

FLOW = FlowConfig(shape=(1, 4, 4), width=2, blocks=0, scales=1)
TOLERANCE = 1e-4  # densities depend on the batch by some 1e-5 nats


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Use one thread, which is faster for flows this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scaled(log_scale: float) -> RealNVP:
    """Create a flow with the density N(0, exp(2·log_scale)) in each of its 16 dimensions."""
    torch.manual_seed(0)
    flow = RealNVP(FLOW).requires_grad_(False)
    norms = [module for module in flow.modules() if isinstance(module, ActNorm)]
    for norm in norms:
        norm.log_scale.fill_(-log_scale / len(norms))
    return flow


def measurement(truth: RealNVP, model: RealNVP, n: int = 1500) -> Measurement:
    x = truth.sample(n, torch.Generator().manual_seed(1))
    held_out = EvalSet(x, log_p=log_densities(truth, x))
    seed = lambda purpose: torch.Generator().manual_seed(2)  # noqa: E731
    references = References({"val": held_out}, truth, (), {"val": n}, torch.sigmoid, seed)
    return Measurement(references, model, "val")


def distance(m: Measurement, logit: Callable[[Tensor], Tensor]) -> float:
    return distance_to_optimum(m, logit)["d_minus_r_nats"]


def test_at_the_equilibrium_zero_is_the_optimum() -> None:
    truth = scaled(0.3)
    assert distance(measurement(truth, truth), lambda x: torch.zeros(len(x))) == pytest.approx(0, abs=TOLERANCE)


@pytest.mark.parametrize("shift", [0.7, -2.0])
def test_a_constant_offset_is_the_distance(shift: float) -> None:
    truth = scaled(0.3)
    found = distance(measurement(truth, truth), lambda x: torch.full((len(x),), shift))
    assert found == pytest.approx(abs(shift), abs=TOLERANCE)


def test_the_truth_over_the_model_is_the_optimum() -> None:
    truth, model = scaled(0.0), scaled(0.3)
    found = distance(measurement(truth, model), lambda x: truth.log_prob(x) - model.log_prob(x))
    assert found == pytest.approx(0, abs=TOLERANCE)


def test_zero_is_as_far_as_the_root_mean_square_of_r() -> None:
    # r = D s − ½(1 − e^{−2s})‖x‖² with s the model's log-scale; ‖x‖² is χ²_D under p and e^{2s} χ²_D under q
    s, dims = 0.2, 16
    a, b = dims * s, 0.5 * (1 - math.exp(-2 * s))

    def second_moment(scale: float) -> float:
        return (a - b * scale * dims) ** 2 + b**2 * scale**2 * 2 * dims

    expected = math.sqrt(0.5 * (second_moment(1) + second_moment(math.exp(2 * s))))
    found = distance(measurement(scaled(0.0), scaled(s)), lambda x: torch.zeros(len(x)))
    assert found == pytest.approx(expected, rel=0.1)
