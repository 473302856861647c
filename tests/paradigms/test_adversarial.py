"""Common parts of adversarial training: order of steps, noise, optimisers, and the initial discriminator."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from nllgen.errors import ConfigError
from nllgen.models import DensityModel, Model, RealNVP
from nllgen.models.dcgan import DCGAN
from nllgen.paradigms import make_paradigm
from nllgen.paradigms.adversarial import Adversarial
from nllgen.paradigms.base import Context
from nllgen.paradigms.discriminator import Discriminator
from nllgen.study.config import DCGANConfig, HybridConfig, NLLConfig, NSGANConfig, ParadigmConfig, WGANGPConfig
from tests.paradigms.games import MakeContext, gradients, make_game, streams_of

SMALL: dict[str, Any] = {"batch_size": 8, "disc_width": 4}


class Batches:
    """A stream of images from its own generator."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def next(self, n: int) -> Tensor:
        return 1 + torch.randn(n, 1, 6, 6, generator=self.generator)

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["state"])


def test_simultaneous_steps_use_the_other_player_before_its_step(flow: RealNVP, context: Context) -> None:
    nsgan = make_game(NSGANConfig(updates="simultaneous", disc_start="fresh", disc_lr=0.1, **SMALL), flow, context)
    disc, gen, latents = copy.deepcopy(nsgan.disc), copy.deepcopy(flow), context.streams["latent"].get_state()
    scalars = nsgan.step(Batches().next, 0)
    replay = torch.Generator()
    replay.set_state(latents)
    with torch.no_grad():
        fake = gen.sample(8, replay)
        before, after = (softplus(-d(nsgan.view(fake))).mean().item() for d in (disc, nsgan.disc))
    assert abs(before - after) > 1e-3
    assert scalars["loss_gen"] == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("updates", ["simultaneous", "alternating"])
def test_plain_steps_go_along_both_players_gradients(
    flow: RealNVP, context: Context, updates: Literal["simultaneous", "alternating"]
) -> None:
    config = NSGANConfig(updates=updates, optimizer="sgd", lr=0.1, disc_lr=0.2, disc_start="fresh", **SMALL)
    nsgan = make_game(config, flow, context)
    players = ((flow, 0.1), (nsgan.disc, 0.2))
    before = [[p.detach().clone() for p in player.parameters()] for player, _ in players]
    nsgan.step(Batches().next, 0)
    for (player, lr), old in zip(players, before, strict=True):
        for parameter, start, grad in zip(player.parameters(), old, gradients(player), strict=True):
            torch.testing.assert_close(parameter.detach(), start - lr * grad)


@pytest.mark.parametrize(
    ("start", "is_zero"), [("zero", True), ("pretrained", True), ("fresh", False)], ids=["zero", "pretrained", "fresh"]
)
def test_a_discriminator_starts_at_zero_or_at_random(
    flow: RealNVP, context: Context, start: Literal["zero", "pretrained", "fresh"], is_zero: bool
) -> None:
    disc = make_game(NSGANConfig(disc_start=start, **SMALL), flow, context).disc
    assert bool((disc(torch.randn(3, 1, 6, 6)) == 0).all()) == is_zero


def test_all_starts_share_the_layers_below_the_last() -> None:
    zero, fresh = (
        Discriminator((1, 6, 6), 4, torch.Generator().manual_seed(3), start_at_zero=at_zero)
        for at_zero in (True, False)
    )
    for a, b in zip(zero.convs.parameters(), fresh.convs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_pretraining_trains_the_discriminator_with_its_own_streams_only(
    flow: RealNVP, make_context: MakeContext
) -> None:
    context = make_context(pretrain_batches=Batches(1))
    config = NSGANConfig(disc_start="pretrained", disc_pretrain_steps=20, disc_lr=1e-3, **SMALL)
    nsgan = make_game(config, flow, context)
    weights = copy.deepcopy(flow.state_dict())
    streams = {name: state.clone() for name, state in streams_of(context).state_dict().items()}
    losses = []
    while nsgan.num_preparation_steps:
        losses.append(nsgan.prepare()["loss_disc"])
    assert len(losses) == 20
    assert losses[0] == pytest.approx(2 * math.log(2))
    assert losses[-1] < 1.35
    assert all(torch.equal(tensor, weights[name]) for name, tensor in flow.state_dict().items())
    moved = [name for name, state in streams_of(context).state_dict().items() if not torch.equal(state, streams[name])]
    assert moved == ["pretrain"]


def test_pretraining_resumes_where_it_was_saved(flow: RealNVP, make_context: MakeContext) -> None:
    def fresh() -> tuple[Context, Adversarial]:
        context = make_context(pretrain_batches=Batches(1))
        config = NSGANConfig(disc_start="pretrained", disc_pretrain_steps=6, instance_noise=0.1, **SMALL)
        return context, make_game(config, flow, context)

    _, whole = fresh()
    while whole.num_preparation_steps:
        whole.prepare()
    context, part = fresh()
    for _ in range(4):
        part.prepare()
    saved, streams = copy.deepcopy(part.state_dict()), copy.deepcopy(streams_of(context).state_dict())
    context, again = fresh()
    again.load_state_dict(saved)
    streams_of(context).load_state_dict(streams)
    assert again.num_preparation_steps == 2
    while again.num_preparation_steps:
        again.prepare()
    for a, b in zip(whole.disc.parameters(), again.disc.parameters(), strict=True):
        assert torch.equal(a, b)


def test_instance_noise_fades_out_linearly_or_stays(flow: RealNVP, context: Context) -> None:
    linear, constant = (
        make_game(NSGANConfig(steps=100, instance_noise=0.4, instance_noise_decay=decay, **SMALL), flow, context)
        for decay in ("linear", "constant")
    )
    assert [linear._noise_std(step) for step in (0, 50, 100)] == [0.4, pytest.approx(0.2), 0.0]
    assert [constant._noise_std(step) for step in (0, 99)] == [0.4, 0.4]


def test_all_inputs_of_the_discriminator_are_noisy(flow: RealNVP, context: Context) -> None:
    """Check real and fake images, in the steps of both players."""
    nsgan = make_game(NSGANConfig(batch_size=64, disc_width=4, instance_noise=0.5), flow, context)
    seen = []
    nsgan.disc.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    latents = context.streams["latent"].get_state()
    gen = copy.deepcopy(flow)
    nsgan.step(Batches().next, 0)
    replay = torch.Generator()
    replay.set_state(latents)
    with torch.no_grad():
        real, fake = (2 * context.to_pixels(x) - 1 for x in (Batches().next(64), gen.sample(64, replay)))
    in_disc, in_gen = seen[0] - torch.cat((real, fake)), seen[1] - fake
    for noise in (*in_disc.chunk(2), in_gen):
        assert noise.std().item() == pytest.approx(0.5, rel=0.05)
        assert abs(noise.mean().item()) < 0.05
    assert abs(torch.corrcoef(torch.stack((in_disc.chunk(2)[1].flatten(), in_gen.flatten())))[0, 1]) < 0.1


def test_without_noise_or_penalty_the_discriminators_stream_is_left_alone(flow: RealNVP, context: Context) -> None:
    before = context.streams["disc"].get_state()
    make_game(NSGANConfig(**SMALL), flow, context).step(Batches().next, 0)
    assert torch.equal(context.streams["disc"].get_state(), before)


@pytest.mark.parametrize("weight", [0.5, 4.0])
def test_the_hybrids_gradient_is_adversarial_plus_lambda_times_nll_per_dimension(
    flow: RealNVP, make_context: MakeContext, weight: float
) -> None:
    real = Batches().next(8)

    def grads(config: ParadigmConfig) -> list[Tensor]:
        model = copy.deepcopy(flow)
        paradigm = make_paradigm(config, model, make_context())
        paradigm.step(lambda n: real, 0)
        return gradients(model)

    game = {"optimizer": "sgd", "disc_start": "fresh", **SMALL}
    hybrid, adversarial = grads(HybridConfig(nll_weight=weight, **game)), grads(NSGANConfig(**game))
    nll = -flow.log_prob(real).mean() / 36
    likelihood = torch.autograd.grad(nll, list(flow.parameters()))
    for both, one, other in zip(hybrid, adversarial, likelihood, strict=True):
        torch.testing.assert_close(both, one + weight * other, rtol=1e-4, atol=1e-6)


def test_the_hybrid_reports_its_nll_in_nats(flow: RealNVP, context: Context) -> None:
    real = Batches().next(8)
    expected = -flow.log_prob(real).mean().item()
    scalars = make_game(HybridConfig(**SMALL), flow, context).step(lambda n: real, 0)
    assert scalars["train_nll_nats"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("config", [NLLConfig(), HybridConfig()])
def test_paradigms_of_densities_refuse_a_model_without_one(context: Context, config: ParadigmConfig) -> None:
    with pytest.raises(ConfigError, match="needs a log_prob, and DCGAN has none"):
        make_paradigm(config, DCGAN(DCGANConfig(shape=(1, 6, 6), width=4)), context)


class Detached(Model):
    """A model whose samples carry no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = (1, 6, 6)
        self.mean = torch.nn.Parameter(torch.zeros(self.shape))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return (self.mean + torch.randn(n, *self.shape, generator=generator)).detach()


def test_samples_without_a_gradient_are_refused(context: Context) -> None:
    with pytest.raises(ConfigError, match="the model's sample passes no gradient"):
        make_game(WGANGPConfig(**SMALL), Detached(), context).step(Batches().next, 0)


def test_a_generator_without_density_is_trained(context: Context) -> None:
    dcgan = DCGAN(DCGANConfig(shape=(1, 6, 6), width=4))
    assert not isinstance(dcgan, DensityModel)
    before = copy.deepcopy(dcgan.state_dict())
    game = make_game(WGANGPConfig(disc_start="fresh", **SMALL), dcgan, context)
    assert math.isfinite(game.step(Batches().next, 0)["loss_gen"])
    assert not torch.equal(dcgan.last.weight, before["last.weight"])
