"""The non-saturating GAN."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from nllgen.models import RealNVP
from nllgen.paradigms.base import Context
from nllgen.paradigms.discriminator import Discriminator
from nllgen.paradigms.guard import Diverged
from nllgen.paradigms.nsgan import NSGAN
from nllgen.study.config import NSGANConfig
from tests.paradigms.games import gradients, make_game


def batches(seed: int = 0) -> Callable[[int], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda n: torch.randn(n, 1, 6, 6, generator=generator)


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 14, 14), (1, 7, 7), (3, 5, 9), (1, 1, 1)])
def test_a_discriminator_takes_any_shape_and_is_zero_when_fresh(shape: tuple[int, int, int]) -> None:
    disc = Discriminator(shape, 4, torch.Generator().manual_seed(0))
    d = disc(torch.randn(3, *shape))
    assert d.shape == (3,)
    assert torch.equal(d, torch.zeros(3))


def test_a_discriminators_weights_come_from_its_generator_alone() -> None:
    a, b = (Discriminator((1, 7, 7), 4, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a.get_parameter("convs.0.weight"), b.get_parameter("convs.0.weight"))


def test_the_first_step_has_the_equilibriums_discriminator_loss(flow: RealNVP, context: Context) -> None:
    nsgan = make_game(NSGANConfig(batch_size=8, disc_width=4), flow, context)
    assert nsgan.step(batches(), 0)["loss_disc"] == pytest.approx(2 * math.log(2), rel=1e-6)


def test_the_generators_loss_is_softplus_of_minus_d(flow: RealNVP, context: Context) -> None:
    nsgan = make_game(NSGANConfig(batch_size=8, disc_width=4), flow, context)
    nsgan.step(batches(), 0)  # away from d ≡ 0
    latents = context.streams["latent"].get_state()
    disc, gen = copy.deepcopy(nsgan.disc), copy.deepcopy(flow)
    scalars = nsgan.step(batches(), 1)
    # the discriminator steps first; its loss is of the discriminator before
    replay = torch.Generator()
    replay.set_state(latents)
    with torch.no_grad():
        fake = gen.sample(8, replay)
        real = batches()(8)
        d_real, d_fake = (disc(2 * context.to_pixels(x) - 1) for x in (real, fake))
        after = nsgan.disc(2 * context.to_pixels(fake) - 1)
    assert scalars["loss_disc"] == pytest.approx((softplus(-d_real).mean() + softplus(d_fake).mean()).item(), rel=1e-5)
    assert scalars["loss_gen"] == pytest.approx(softplus(-after).mean().item(), rel=1e-5)


def test_the_generators_step_gives_the_discriminator_no_gradient(flow: RealNVP, context: Context) -> None:
    nsgan = make_game(NSGANConfig(batch_size=8, disc_width=4), flow, context)
    nsgan.step(batches(), 0)
    grads = [grad.clone() for grad in gradients(nsgan.disc)]
    nsgan._gen_gradient(batches()(8), flow.sample(8, context.streams["latent"]), 0.0, context.streams["disc"])
    for before, grad in zip(grads, gradients(nsgan.disc), strict=True):
        assert torch.equal(before, grad)
    assert all(p.requires_grad for p in nsgan.disc.parameters())


def test_the_generators_gradient_reaches_every_coupling(flow: RealNVP, context: Context) -> None:
    nsgan = make_game(NSGANConfig(batch_size=8, disc_width=4), flow, context)
    nsgan.step(batches(), 0)
    nsgan.step(batches(1), 1)
    last = [p for name, p in flow.named_parameters() if "last.weight" in name]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in last)


def test_n_discriminator_steps_take_n_batches(flow: RealNVP, context: Context) -> None:
    nsgan = make_game(NSGANConfig(batch_size=8, disc_width=4, disc_steps=5), flow, context)
    sizes, source = [], batches()

    def count(n: int) -> Tensor:
        sizes.append(n)
        return source(n)

    nsgan.step(count, 0)
    assert sizes == [8] * 5


def test_logits_may_be_the_discriminators_input(flow: RealNVP, context: Context) -> None:
    nsgan = make_game(NSGANConfig(batch_size=4, disc_width=4, disc_input="logits"), flow, context)
    x = torch.full((1, 1, 6, 6), context.max_logit)
    assert torch.equal(nsgan._view(x, 0.0, context.streams["disc"]), torch.ones_like(x))
    assert math.isfinite(nsgan.step(batches(), 0)["loss_gen"])


def test_data_that_are_not_finite_diverge_before_any_weight_moves(flow: RealNVP, context: Context) -> None:
    nsgan = make_game(NSGANConfig(batch_size=4, disc_width=4), flow, context)
    before = copy.deepcopy({**flow.state_dict(), **nsgan.disc.state_dict()})
    with pytest.raises(Diverged):
        nsgan.step(lambda n: torch.full((n, 1, 6, 6), math.nan), 0)
    for name, tensor in {**flow.state_dict(), **nsgan.disc.state_dict()}.items():
        assert torch.equal(tensor, before[name]), name


def test_the_game_moves_a_wrong_generator_towards_the_data(context: Context, flow: RealNVP) -> None:
    """Train on data brighter than the generator's: the mean of its pixels increases."""
    nsgan = make_game(NSGANConfig(batch_size=64, disc_width=8, lr=2e-3, disc_lr=2e-3), flow, context)
    noise = torch.Generator().manual_seed(5)
    for step in range(60):
        nsgan.step(lambda n: 2 + 0.5 * torch.randn(n, 1, 6, 6, generator=noise), step)
    with torch.no_grad():
        mean = context.to_pixels(flow.sample(200, torch.Generator().manual_seed(9))).mean().item()
    assert mean > 0.65  # it starts at 0.5, the data have 0.87


def test_the_logit_is_the_discriminators_answer_to_pixels_without_the_noise_of_training(
    flow: RealNVP, context: Context
) -> None:
    config = NSGANConfig(batch_size=8, disc_width=4, disc_start="fresh", instance_noise=0.5)
    nsgan = make_game(config, flow, context)
    assert isinstance(nsgan, NSGAN)
    x = torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    leak = 0.01 * x / context.max_logit
    assert torch.equal(nsgan.logit(x), nsgan.disc(2 * context.to_pixels(x) - 1 + leak))
    assert not nsgan.logit(x).requires_grad
