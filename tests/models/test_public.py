"""The public classes of the package."""

from __future__ import annotations

import torch

from nllgen.models import RealNVP
from nllgen.study.config import FlowConfig


def test_real_nvp_is_public() -> None:
    flow = RealNVP(FlowConfig(shape=(1, 4, 4), width=2, blocks=0, scales=1))
    x = flow.sample(3, torch.Generator().manual_seed(0))
    assert x.shape == (3, 1, 4, 4)
    assert flow.log_prob(x).dtype == torch.float64
