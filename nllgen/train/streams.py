"""Named random streams: one seed per cell, split so that the use of one stream does not affect another."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

NAMES = ("init", "data", "noise", "latent", "disc", "pretrain", "pretrain_data", "eval")
_ON_CPU = ("data", "pretrain_data")


def stream_seed(seed: int, *names: str | int) -> int:
    """Derive a 63-bit seed from a seed and a path of names, independent for different paths (SHA-256).

    torch's generator on the CPU uses only the last 32 bits: among n streams about n²/2³³ pairs coincide.
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(device: torch.device, seed: int, *names: str | int) -> torch.Generator:
    """Create a generator on ``device`` for one path of names."""
    return torch.Generator(device).manual_seed(stream_seed(seed, *names))


class RandomStreams:
    """The random generators of one run, by purpose.

    ``init`` weights, ``data`` order of the data, ``noise`` dequantisation, ``latent`` latents, ``disc`` steps of a
    discriminator, ``pretrain`` and ``pretrain_data`` training a discriminator alone, ``eval`` evaluation. The order of
    data is drawn on the CPU, everything else on the device that uses it.
    """

    def __init__(self, seed: int, device: torch.device):
        self.seed = seed
        devices = {name: torch.device("cpu") if name in _ON_CPU else device for name in NAMES}
        self._generators = {name: generator(devices[name], seed, name) for name in NAMES}

    def __getitem__(self, name: str) -> torch.Generator:
        return self._generators[name]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state of every stream."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state of every stream."""
        for name, generator in self._generators.items():
            generator.set_state(state[name])
