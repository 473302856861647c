"""The benchmarks still run what the worker runs: one round of each step, at a size that takes no time."""

from __future__ import annotations

import math

import torch

from benchmarks.steps import nll_step, sampling


def test_the_measured_step_trains() -> None:
    torch.manual_seed(0)
    step = nll_step(4, 1, torch.randn(16, 1, 14, 14))
    losses = [step() for _ in range(60)]
    assert math.isfinite(losses[-1])
    assert losses[-1] < losses[0]


def test_the_measured_sampling_draws_images() -> None:
    assert sampling(4, 1, 3)().shape == (3, 1, 28, 28)
