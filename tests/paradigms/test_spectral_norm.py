"""Spectral normalisation of the discriminator (Miyato et al. 2018)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from nllgen.models import RealNVP
from nllgen.paradigms.adversarial import Adversarial
from nllgen.paradigms.base import Context
from nllgen.study.config import NSGANConfig
from tests.paradigms.games import make_game

OPTIONS: dict[str, Any] = {"batch_size": 8, "disc_width": 4, "disc_start": "fresh", "spectral_norm": True}


def step(game: Adversarial, number: int) -> None:
    noise = torch.Generator().manual_seed(number)
    game.step(lambda n: torch.randn(n, 1, 6, 6, generator=noise), number)


def test_each_layers_largest_singular_value_is_1_in_training(flow: RealNVP, context: Context) -> None:
    game = make_game(NSGANConfig(**OPTIONS), flow, context)
    for number in range(20):
        step(game, number)
    game.disc.eval()
    for layer in (*game.disc.convs, game.disc.last):
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_its_vectors_come_from_the_runs_own_stream_and_are_a_part_of_the_state(flow: RealNVP, context: Context) -> None:
    torch.manual_seed(1)
    one = make_game(NSGANConfig(**OPTIONS), flow, context)
    torch.manual_seed(2)
    other = make_game(NSGANConfig(**OPTIONS), flow, context)
    states = one.disc.state_dict(), other.disc.state_dict()
    assert any(name.endswith("_u") for name in states[0])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    step(one, 0)
    other.load_state_dict(one.state_dict())
    assert all(torch.equal(value, other.disc.state_dict()[name]) for name, value in one.disc.state_dict().items())


def test_measuring_leaves_its_vectors_alone(flow: RealNVP, context: Context) -> None:
    game = make_game(NSGANConfig(**OPTIONS), flow, context)
    before = {name: value.clone() for name, value in game.disc.state_dict().items()}
    game.logit(torch.randn(4, 1, 6, 6))  # type: ignore[attr-defined]
    assert all(torch.equal(value, game.disc.state_dict()[name]) for name, value in before.items())


def test_a_layer_of_zeros_has_no_norm() -> None:
    with pytest.raises(ValidationError, match="spectral_norm needs disc_start: fresh, it is zero"):
        NSGANConfig(spectral_norm=True)
