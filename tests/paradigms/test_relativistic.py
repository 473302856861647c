"""R3GAN: the relativistic losses and both penalties, compared with closed forms and with plain autograd."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nllgen.models import RealNVP
from nllgen.paradigms.base import Context
from nllgen.study.config import NSGANConfig, R3GANConfig
from tests.paradigms.games import gradients, make_game

SMALL: dict[str, Any] = {"batch_size": 6, "disc_width": 4}


@pytest.fixture
def real() -> Tensor:
    return torch.randn(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def test_both_losses_are_ln_2_where_the_discriminator_is_constant(
    flow: RealNVP, context: Context, real: Tensor
) -> None:
    scalars = make_game(R3GANConfig(**SMALL), flow, context).step(lambda n: real, 0)
    assert scalars["loss_disc"] == pytest.approx(math.log(2), rel=1e-6)
    game = make_game(R3GANConfig(**SMALL), flow, context)
    d = torch.full((4,), 3.0)
    assert game.gen_loss(d, d).item() == pytest.approx(math.log(2))


def test_the_losses_are_those_of_logistic_regression_on_pairs(flow: RealNVP, context: Context) -> None:
    """−log P(real beats generated), with the Bradley–Terry probability σ(d(x) − d(y))."""
    game = make_game(R3GANConfig(**SMALL), flow, context)
    d_real, d_fake = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, 1.0, -4.0])
    won = torch.sigmoid(d_real - d_fake)
    assert game.disc_loss(d_real, d_fake).item() == pytest.approx((-won.log()).mean().item(), rel=1e-6)
    assert game.gen_loss(d_fake, d_real).item() == pytest.approx((-(1 - won).log()).mean().item(), rel=1e-6)


def test_a_constant_that_is_added_to_the_discriminator_changes_no_loss(flow: RealNVP, context: Context) -> None:
    game = make_game(R3GANConfig(**SMALL), flow, context)
    d_real, d_fake = torch.tensor([1.0, -2.0]), torch.tensor([0.3, 1.0])
    assert game.disc_loss(d_real + 5, d_fake + 5).item() == pytest.approx(game.disc_loss(d_real, d_fake).item())
    assert game.gen_loss(d_fake + 5, d_real + 5).item() == pytest.approx(game.gen_loss(d_fake, d_real).item())


def test_the_generator_steps_along_the_gradient_of_its_paired_loss(
    flow: RealNVP, context: Context, real: Tensor
) -> None:
    config = R3GANConfig(disc_start="fresh", updates="simultaneous", optimizer="sgd", **SMALL)
    game = make_game(config, flow, context)
    replay = torch.Generator()
    replay.set_state(context.streams["latent"].get_state())
    fake = flow.sample(6, replay)
    loss = torch.log1p(torch.exp(game.disc(game.view(real)) - game.disc(game.view(fake)))).mean()
    expected = torch.autograd.grad(loss, list(flow.parameters()))
    scalars = game.step(lambda n: real, 0)
    assert scalars["loss_gen"] == pytest.approx(loss.item(), rel=1e-5)
    for gradient, other in zip(gradients(flow), expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("gammas", "at"), [((2.0, 0.0), "real"), ((0.0, 2.0), "fake"), ((2.0, 2.0), "both")])
def test_r1_is_the_penalty_at_real_images_and_r2_at_generated_ones(
    flow: RealNVP, context: Context, real: Tensor, gammas: tuple[float, float], at: str
) -> None:
    config = NSGANConfig(disc_start="fresh", r1_gamma=gammas[0], r2_gamma=gammas[1], **SMALL)
    game = make_game(config, flow, context)
    fake = torch.randn(6, 1, 6, 6, generator=torch.Generator().manual_seed(3))

    def squares(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(game.disc(x).sum(), x)
        return slope.square().sum((1, 2, 3)).mean()

    expected = {"real": squares(real), "fake": squares(fake), "both": squares(real) + squares(fake)}[at]
    penalty = game.penalty(real, fake, torch.Generator())
    assert penalty is not None
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-5)
