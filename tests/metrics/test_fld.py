"""Feature Likelihood Divergence, against closed forms, identities of EM and its published behaviour."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from nllgen.metrics.fld import SampleMixture, fld

D = 8


def normal(num: int, seed: int, dim: int = D) -> Tensor:
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_sample_has_the_variance_of_maximum_likelihood() -> None:
    """With a single normal the fit is a closed form: σ² = E‖x − μ‖²/d."""
    sample, images, new = normal(1, 0), normal(200, 1), normal(50, 2)
    variance = (images - sample).square().sum(1).mean() / D
    expected = -0.5 * (new - sample).square().sum(1) / variance - 0.5 * D * math.log(2 * math.pi * variance)
    torch.testing.assert_close(SampleMixture(sample, images).log_density(new), expected)


def test_the_density_integrates_to_one() -> None:
    mixture = SampleMixture(normal(5, 0, 1), normal(40, 1, 1))
    grid = torch.linspace(-12, 12, 24_001, dtype=torch.float64)[:, None]
    assert mixture.log_density(grid).exp().sum().item() * 24 / 24_000 == pytest.approx(1, abs=1e-3)


def test_each_iteration_raises_the_likelihood_of_the_images() -> None:
    samples, images = normal(60, 0), 1.5 * normal(150, 1)
    values = [SampleMixture(samples, images, n).log_density(images).mean().item() for n in range(0, 12)]
    assert all(later >= before - 1e-9 for before, later in itertools.pairwise(values))
    assert values[-1] > values[0]


def test_the_variances_are_a_maximum_of_the_likelihood() -> None:
    """Its gradient in each log-variance, by autograd over the textbook's formula, is 0."""
    samples, images = normal(6, 0, 2), normal(80, 1, 2)
    mixture = SampleMixture(samples, images, 4_000)
    log_variances = mixture._log_variances.clone().requires_grad_()
    squares = (images[:, None] - samples[None]).square().sum(-1)
    terms = -0.5 * squares / log_variances.exp() - (log_variances + math.log(2 * math.pi)) - math.log(6)
    terms.logsumexp(1).mean().backward()  # type: ignore[no-untyped-call]
    assert log_variances.grad is not None
    assert log_variances.grad.abs().max() < 1e-6


def test_new_draws_of_the_data_are_near_0_and_worse_samples_are_above() -> None:
    training, held_out = normal(1_000, 0), normal(1_000, 1)
    good, gap = fld(normal(500, 2), training, held_out)
    assert abs(good) < 1
    assert abs(gap) < 3
    noisy = [fld(scale * normal(500, 2), training, held_out)[0] for scale in (1.3, 2.0, 4.0)]
    assert good + 1 < noisy[0] < noisy[1] < noisy[2]
    half = normal(500, 2)
    half[:, 0] = half[:, 0].abs()  # a half of the support is missing
    assert fld(half, training, held_out)[0] > good + 1


def test_copies_of_training_images_are_far_worse_than_new_draws_and_have_a_gap() -> None:
    training, held_out = normal(1_000, 0), normal(1_000, 1)
    value, gap = fld(training[:500], training, held_out)
    assert value > 15
    assert gap > 15
    mixed, _ = fld(torch.cat((training[:250], normal(250, 2))), training, held_out)
    assert fld(normal(500, 2), training, held_out)[0] < mixed < value


def test_scales_and_shifts_of_features_do_not_matter() -> None:
    samples, training, held_out = normal(200, 2), normal(400, 0), normal(400, 1)
    scale, shift = torch.linspace(0.1, 10, D, dtype=torch.float64), torch.arange(D, dtype=torch.float64)
    moved = [part * scale + shift for part in (samples, training, held_out)]
    assert fld(*moved) == pytest.approx(fld(samples, training, held_out), rel=1e-6)


def test_too_few_images_have_no_value() -> None:
    assert all(math.isnan(value) for value in fld(normal(5, 0), normal(3, 1), normal(5, 2)))
