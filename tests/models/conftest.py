"""Flows with weights that are far from the identity, at shapes that reach every branch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from nllgen.models import RealNVP
from nllgen.study.config import FlowConfig
from nllgen.study.degrees import DEGREES, student

TRUTHS = {
    "mnist": FlowConfig(width=2, blocks=1),
    "odd final scale": FlowConfig(shape=(1, 14, 14), width=4, blocks=1),
    "three scales in colour": FlowConfig(shape=(3, 8, 8), width=2, blocks=1, scales=3),
    "oblong": FlowConfig(shape=(1, 6, 10), width=4, blocks=1),
    "one-pixel final scale": FlowConfig(shape=(2, 2, 2), width=4, blocks=1),
    "no blocks": FlowConfig(shape=(1, 4, 4), width=4, blocks=0, scales=1),
    "odd": FlowConfig(shape=(1, 7, 7), width=4, blocks=1, scales=1),
    "odd oblong": FlowConfig(shape=(1, 5, 3), width=4, blocks=2, scales=1),
}
TINY = ("odd final scale of 12 pixels", "one-pixel final scale", "no blocks", "odd oblong", "in colour")
TINY_TRUTHS = TRUTHS | {
    "odd final scale of 12 pixels": FlowConfig(shape=(1, 2, 6), width=4, blocks=1),
    "in colour": FlowConfig(shape=(3, 4, 4), width=2, blocks=1, scales=2),
}
STUDENTS = tuple(d for d in DEGREES if d != "W*")  # W* has the architecture of W


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(params=TRUTHS)
def truth_config(request: pytest.FixtureRequest) -> FlowConfig:
    return TRUTHS[request.param]


@pytest.fixture(params=STUDENTS)
def degree(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def config(truth_config: FlowConfig, degree: str) -> FlowConfig:
    """Return the configuration of every degree at every shape."""
    return student(truth_config, degree)  # type: ignore[arg-type]


@pytest.fixture(params=[f"{d} {t}" for d in ("U3", "W") for t in TINY])
def tiny_config(request: pytest.FixtureRequest) -> FlowConfig:
    """Return additive and affine flows that are small enough for a full Jacobian."""
    degree, truth = request.param.split(" ", 1)
    return student(TINY_TRUTHS[truth], degree)


@pytest.fixture
def make_x() -> Callable[..., Tensor]:
    """Return make_x(config, n, dtype, seed), which draws data that are neither centred nor scaled."""

    def make(config: FlowConfig, n: int = 4, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return 0.5 + 2 * torch.randn(n, *config.shape, generator=generator, dtype=dtype)

    return make


@pytest.fixture
def make_flow(make_x: Callable[..., Tensor]) -> Callable[..., RealNVP]:
    """Return make_flow(config, dtype, seed, noise), which initialises ActNorm and adds noise to every parameter.

    Noise on a kernel is divided by the root of its fan-in, so that its effect does not depend on the width.
    """

    def make(config: FlowConfig, dtype: torch.dtype = torch.float64, seed: int = 0, noise: float = 0.3) -> RealNVP:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            flow = RealNVP(config).to(dtype)
            flow.initialise(make_x(config, 32, dtype, seed))
            for p in flow.parameters():
                p.data += noise * torch.randn_like(p) / math.sqrt(p[0].numel() if p.shape[-1] == 3 else 1)
        return flow.requires_grad_(False)

    return make
