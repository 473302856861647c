"""The discriminator's view of samples: every image passes a gradient to the generator, however black it is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nllgen.metrics.play import DEAD_GRADIENT, dead_step
from nllgen.models import RealNVP
from nllgen.paradigms.base import Context
from nllgen.paradigms.nsgan import NSGAN
from nllgen.paradigms.r3gan import R3GAN
from nllgen.study.config import AdversarialConfig, HybridConfig, NSGANConfig, R3GANConfig, WGANGPConfig
from tests.paradigms.games import make_game

SMALL: dict[str, Any] = {"batch_size": 8, "disc_width": 4, "disc_start": "fresh"}
BLACK, WHITE = -100.0, 100.0  # logits at which the sigmoid's own slope is 0 in fp32


def gradient_at(flow: RealNVP, context: Context, config: AdversarialConfig, logit: float) -> Tensor:
    """Return the gradient of the generator's loss at a batch of one colour."""
    game = make_game(config, flow, context)
    fake = torch.full((8, 1, 6, 6), logit, requires_grad=True)
    real = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    loss = game.gen_loss(game.disc(game.view(fake)), game.disc(game.view(real)) if game.is_relativistic else None)
    (gradient,) = torch.autograd.grad(loss, fake)
    return gradient


@pytest.mark.parametrize("logit", [BLACK, WHITE], ids=["black", "white"])
@pytest.mark.parametrize(
    "config",
    [NSGANConfig(**SMALL), R3GANConfig(**SMALL), HybridConfig(**SMALL), WGANGPConfig(**SMALL)],
    ids=lambda config: config.name,
)
def test_an_image_of_one_colour_has_a_gradient_at_every_pixel(
    flow: RealNVP, context: Context, config: AdversarialConfig, logit: float
) -> None:
    gradient = gradient_at(flow, context, config, logit)
    assert (gradient != 0).all()
    assert gradient.norm() > 10 * DEAD_GRADIENT


def test_without_the_leak_a_black_image_has_none(flow: RealNVP, context: Context) -> None:
    assert (gradient_at(flow, context, NSGANConfig(pixel_leak=0.0, **SMALL), BLACK) == 0).all()


def test_the_view_is_strictly_monotone_and_of_data_within_one_and_the_leak(flow: RealNVP, context: Context) -> None:
    game = make_game(NSGANConfig(**SMALL), flow, context)
    logits = torch.linspace(-40, 40, 2001, dtype=torch.float64)
    seen = game.view(logits)
    assert (seen.diff() > 0).all()
    of_data = game.view(torch.tensor([-context.max_logit, context.max_logit], dtype=torch.float64))
    assert of_data.tolist() == pytest.approx([-1.01, 1.01], abs=1e-6)


def test_the_generators_gradient_is_that_of_its_loss_and_changes_nothing(flow: RealNVP, context: Context) -> None:
    game = make_game(NSGANConfig(spectral_norm=True, **SMALL), flow, context)
    before = {name: value.clone() for name, value in (*flow.state_dict().items(), *game.disc.state_dict().items())}
    real = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    norm = game.generator_gradient(real, torch.Generator().manual_seed(2))
    after = {**flow.state_dict(), **game.disc.state_dict()}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert game.disc.training
    assert all(parameter.grad is None for parameter in (*flow.parameters(), *game.disc.parameters()))
    game.disc.eval()
    game.gen_loss(game.disc(game.view(flow.sample(8, torch.Generator().manual_seed(2))))).backward()  # type: ignore[no-untyped-call]
    squares = [parameter.grad.square().sum() for parameter in flow.parameters() if parameter.grad is not None]
    assert norm == pytest.approx(torch.stack(squares).sum().sqrt().item(), rel=1e-5)


def test_a_game_that_lives_is_nowhere_dead(flow: RealNVP, context: Context) -> None:
    for config in (NSGANConfig(**SMALL), R3GANConfig(**SMALL)):
        game = make_game(config, flow, context)
        assert isinstance(game, NSGAN | R3GAN)
        norm = game.generator_gradient(torch.randn(8, 1, 6, 6), torch.Generator().manual_seed(2))
        assert norm > 100 * DEAD_GRADIENT


def test_a_game_is_dead_since_the_first_of_its_last_evaluations_without_a_gradient() -> None:
    def since(*norms: float) -> float:
        rows = [{"step": 10.0 * (i + 1), "gen_grad_norm": norm} for i, norm in enumerate(norms)]
        return dead_step([*rows, {"step": 999.0}])  # the averaged weights play no game

    nan = float("nan")
    assert math.isnan(since(0.1, 0.0, 0.1))  # it came back
    assert since(0.1, 0.0, 1e-9) == 20
    assert since(0.0, 0.1, 0.0) == 30
    assert since(0.1, nan) == 20
    assert math.isnan(since(1e-5))


def test_the_start_is_not_dead_where_the_discriminator_is_0() -> None:
    rows = [{"step": 0.0, "gen_grad_norm": 0.0}, {"step": 10.0, "gen_grad_norm": 0.1}]
    assert math.isnan(dead_step(rows[:1]))
    assert math.isnan(dead_step(rows))
