"""Named random streams: one seed a cell, split so that no use of randomness shifts another."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

NAMES = ("init", "data", "noise", "latent", "disc", "pretrain", "pretrain_data", "eval")
_ON_CPU = ("data", "pretrain_data")


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed from a seed and a path of names, independent for different paths (SHA-256).

    torch's generator on the CPU uses the last 32 bits of it: among n streams about n²/2³³ pairs coincide.
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(device: torch.device, seed: int, *names: str | int) -> torch.Generator:
    """A generator on ``device`` for one path of names."""
    return torch.Generator(device).manual_seed(stream_seed(seed, *names))


class RandomStreams:
    """The generators of one run.

    Weights, order of the data, dequantisation noise, latents, what a discriminator's step needs, all of training a
    discriminator alone and the order of its data, evaluation. Orders are drawn on the CPU, everything else where it is
    used.
    """

    def __init__(self, seed: int, device: torch.device):
        self.seed = seed
        places = {name: torch.device("cpu") if name in _ON_CPU else device for name in NAMES}
        self._generators = {name: generator(places[name], seed, name) for name in NAMES}

    def __getitem__(self, name: str) -> torch.Generator:
        return self._generators[name]

    def state_dict(self) -> dict[str, Tensor]:
        """The state of every stream."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where the states were taken."""
        for name, generator in self._generators.items():
            generator.set_state(state[name])
