"""R1 and the gradient penalty, compared with derivatives computed without autograd."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nllgen.models import RealNVP
from nllgen.paradigms.adversarial import Adversarial
from nllgen.paradigms.base import Context
from nllgen.paradigms.discriminator import Discriminator
from nllgen.paradigms.penalties import input_gradient
from nllgen.study.config import NSGANConfig, WGANGPConfig
from tests.paradigms.games import make_game

SHAPE = (1, 4, 3)
STEP = 1e-6


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    real, fake = (torch.rand(5, *SHAPE, generator=generator, dtype=torch.float64) * 2 - 1 for _ in range(2))
    return real, fake


def with_discriminator(paradigm: Adversarial) -> Adversarial:
    """Replace the discriminator by one in fp64 with d ≢ 0."""
    paradigm.disc = Discriminator(SHAPE, 3, torch.Generator().manual_seed(1), start_at_zero=False).double()
    return paradigm


@pytest.fixture
def r1(flow: RealNVP, context: Context) -> Adversarial:
    return with_discriminator(make_game(NSGANConfig(r1_gamma=3.0, disc_width=3), flow, context))


@pytest.fixture
def gp(flow: RealNVP, context: Context) -> Adversarial:
    return with_discriminator(make_game(WGANGPConfig(disc_width=3), flow, context))


def by_differences(disc: Discriminator, x: Tensor) -> Tensor:
    """Compute ∇ₓd (N, D) by central differences, one dimension at a time."""
    columns = []
    for i in range(x[0].numel()):
        shift = torch.zeros(x[0].numel(), dtype=x.dtype)
        shift[i] = STEP
        up, down = (disc(x + sign * shift.view(SHAPE)) for sign in (1, -1))
        columns.append((up - down).detach() / (2 * STEP))
    return torch.stack(columns, 1)


def mixed(real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
    share = torch.rand(len(real), 1, 1, 1, generator=generator, dtype=real.dtype)
    return share * real + (1 - share) * fake


def penalty_of(paradigm: Adversarial, images: tuple[Tensor, Tensor]) -> Tensor:
    penalty = paradigm.penalty(*images, torch.Generator().manual_seed(7))
    assert penalty is not None
    return penalty


def test_r1_is_half_gamma_times_the_mean_squared_norm_at_real_images(
    r1: Adversarial, images: tuple[Tensor, Tensor]
) -> None:
    expected = 1.5 * by_differences(r1.disc, images[0]).square().sum(1).mean()
    assert penalty_of(r1, images).item() == pytest.approx(expected.item(), rel=1e-7)


def test_the_gradient_penalty_is_taken_between_real_and_fake_over_all_dimensions(
    gp: Adversarial, images: tuple[Tensor, Tensor]
) -> None:
    norm = by_differences(gp.disc, mixed(*images, torch.Generator().manual_seed(7))).square().sum(1).sqrt()
    expected = 10 * (norm - 1).square().mean()
    assert penalty_of(gp, images).item() == pytest.approx(expected.item(), rel=1e-7)


@pytest.mark.parametrize("name", ["r1", "gp"])
def test_the_penaltys_own_gradient_is_that_of_differences_in_the_weights(
    name: str, images: tuple[Tensor, Tensor], request: pytest.FixtureRequest
) -> None:
    paradigm: Adversarial = request.getfixturevalue(name)
    weights = list(paradigm.disc.parameters())

    def penalty() -> Tensor:
        return penalty_of(paradigm, images)

    grads = torch.autograd.grad(penalty(), weights, allow_unused=True)
    direction = [torch.randn(w.shape, generator=torch.Generator().manual_seed(3), dtype=w.dtype) for w in weights]
    expected = sum(float((g * d).sum()) for g, d in zip(grads, direction, strict=True) if g is not None)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for w, d in zip(weights, direction, strict=True):
                w.add_(sign * STEP * d)
        values.append(penalty().item())
        with torch.no_grad():
            for w, d in zip(weights, direction, strict=True):
                w.sub_(sign * STEP * d)
    assert abs(expected) > 1e-3
    assert (values[0] - values[1]) / (2 * STEP) == pytest.approx(expected, rel=1e-5)


def test_the_penalty_is_part_of_the_gradient_that_the_discriminator_steps_along(
    flow: RealNVP, context: Context
) -> None:
    """Compare a step with independent autograd over the whole loss."""
    config = NSGANConfig(batch_size=6, disc_width=4, r1_gamma=2.0, disc_start="fresh", optimizer="sgd", disc_lr=0.1)
    nsgan = make_game(config, flow, context)
    before = [p.detach().clone() for p in nsgan.disc.parameters()]
    state = context.streams["latent"].get_state()
    real = torch.randn(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    replay = torch.Generator()
    replay.set_state(state)
    with torch.no_grad():
        fake = flow.sample(6, replay)
    seen = [nsgan.view(x).requires_grad_() for x in (real, fake)]
    d_real, d_fake = (nsgan.disc(x) for x in seen)
    (slope,) = torch.autograd.grad(d_real.sum(), seen[0], create_graph=True)
    plain = torch.log1p(torch.exp(-d_real)).mean() + torch.log1p(torch.exp(d_fake)).mean()
    penalty = slope.square().sum((1, 2, 3)).mean()
    grads = torch.autograd.grad(plain + penalty, list(nsgan.disc.parameters()))
    scalars = nsgan.step(lambda n: real, 0)
    assert scalars["loss_disc"] == pytest.approx(plain.item(), rel=1e-5)
    assert scalars["penalty_disc"] == pytest.approx(penalty.item(), rel=1e-5)
    for old, grad, new in zip(before, grads, nsgan.disc.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old - 0.1 * grad, rtol=1e-5, atol=1e-7)


def test_a_critic_that_is_zero_has_a_penalty_and_a_finite_gradient(flow: RealNVP, context: Context) -> None:
    wgan = make_game(WGANGPConfig(batch_size=4, disc_width=4, disc_steps=1), flow, context)
    scalars = wgan.step(lambda n: torch.randn(n, 1, 6, 6, generator=torch.Generator().manual_seed(0)), 0)
    assert scalars["penalty_disc"] == pytest.approx(10.0)
    assert math.isfinite(scalars["grad_norm_disc"])
    assert scalars["grad_norm_disc"] > 0


def test_penalties_are_fp32_even_inside_autocast(r1: Adversarial, images: tuple[Tensor, Tensor]) -> None:
    disc, x = r1.disc.float(), images[0].float()
    outside = input_gradient(disc, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(input_gradient(disc, x), outside)


def test_the_critics_losses_are_differences_of_means(gp: Adversarial) -> None:
    a, b = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 2.0])
    assert gp.disc_loss(a, b).item() == -1.5
    assert gp.gen_loss(b).item() == -0.5
