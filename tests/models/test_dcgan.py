"""The DCGAN generator of the positive control."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nllgen.data.logits import from_logits
from nllgen.models import DensityModel
from nllgen.models.dcgan import DCGAN
from nllgen.study.config import DCGANConfig


def dcgan(shape: tuple[int, int, int] = (1, 14, 14), **rest: Any) -> DCGAN:
    torch.manual_seed(0)
    return DCGAN(DCGANConfig(shape=shape, width=4, **rest))


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 14, 14), (1, 7, 7), (3, 5, 9), (1, 1, 1)])
def test_it_makes_images_of_any_shape(shape: tuple[int, int, int]) -> None:
    assert dcgan(shape).sample(3, torch.Generator().manual_seed(0)).shape == (3, *shape)


def test_its_latents_come_from_the_generator_alone() -> None:
    model, before = dcgan(), torch.random.get_rng_state()
    a, b, c = (model.sample(2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_image_does_not_depend_on_the_others_of_its_batch() -> None:
    model = dcgan(latent_dim=5)
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(z)[:2], model(z[:2]))


def test_training_and_evaluation_are_one_map() -> None:
    model, z = dcgan(latent_dim=5), torch.randn(4, 5)
    assert torch.equal(model.train()(z), model.eval()(z))


def test_its_pixels_are_the_tanh_of_half_its_logits() -> None:
    y = dcgan().sample(4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(2 * from_logits(y, 1e-6) - 1, torch.tanh(y / 2), rtol=0, atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    model = dcgan()
    model.sample(8, torch.Generator().manual_seed(0)).square().sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_it_has_no_density() -> None:
    assert not isinstance(dcgan(), DensityModel)
    assert not hasattr(dcgan(), "log_prob")
