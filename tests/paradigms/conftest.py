"""A context around a paradigm: CPU, fp32, seeded streams."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from nllgen.data.logits import unclipped_pixels
from nllgen.models import RealNVP
from nllgen.paradigms.base import Context
from nllgen.study.config import FlowConfig
from nllgen.train.streams import RandomStreams
from tests.paradigms.games import MakeContext

CPU = torch.device("cpu")


@pytest.fixture
def make_context() -> MakeContext:
    """Return make_context(**changes), which starts the streams of seed 0 anew."""
    torch.set_num_threads(1)

    def make(**changes: Any) -> Context:
        defaults: dict[str, Any] = {
            "device": CPU,
            "streams": RandomStreams(0, CPU),
            "autocast": nullcontext,
            "to_pixels": lambda x: unclipped_pixels(x, 1e-6),
            "max_logit": math.log((1 - 1e-6) / 1e-6),
        }
        return Context(**defaults | changes)

    return make


@pytest.fixture
def context(make_context: MakeContext) -> Context:
    return make_context()


@pytest.fixture
def flow() -> RealNVP:
    torch.manual_seed(0)
    flow = RealNVP(FlowConfig(shape=(1, 6, 6), width=4, blocks=1))
    flow.initialise(torch.randn(64, 1, 6, 6))
    return flow
