"""Activation normalisation: a per-channel affine map initialised from data (Glow, Kingma & Dhariwal 2018, §3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MIN_STD = 1e-3  # a constant channel is scaled by at most its inverse


class ActNorm(nn.Module):
    """y = x · exp(log_scale) + bias, one pair a channel.

    The flag ``initialised`` lies in the state dict: a loaded model is never initialised a second time.
    Until it is initialised the map is the identity.

    Args:
        num_channels: C, channels of the image.
        num_pixels: H·W of the image. It may come as it is, (N, C, H, W), or squeezed, (N, 4·C, H/2, W/2), phase-major:
            the phases of a channel share its map.
    """

    initialised: Tensor

    def __init__(self, num_channels: int, num_pixels: int):
        super().__init__()
        self.num_pixels = num_pixels
        self.log_scale = nn.Parameter(torch.zeros(1, num_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, num_channels, 1, 1))
        self.register_buffer("initialised", torch.tensor(False))

    @torch.no_grad()
    def initialise(self, x: Tensor, valid: Tensor | None = None) -> None:
        """Set the map so that ``x`` leaves with mean 0 and standard deviation 1 in each channel; only the first time.

        Args:
            x: a batch, in either form.
            valid: 1 where a site counts, 0 where it is padding; broadcasts to x.
        """
        if self.initialised:
            return
        n, _, h, w = x.shape
        sites = torch.ones_like(x) if valid is None else valid.expand_as(x)
        x, sites = (t.reshape(n, -1, self.bias.shape[1], h, w) for t in (x, sites))  # (N, phases, C, H, W)
        dims = (0, 1, 3, 4)
        count = sites.sum(dims)
        mean = (x * sites).sum(dims) / count
        centred = (x - mean.view(-1, 1, 1)) * sites
        std = (centred.square().sum(dims) / count).sqrt().clamp_min(_MIN_STD)
        self.log_scale.copy_(-std.log().view_as(self.log_scale))
        self.bias.copy_((-mean / std).view_as(self.bias))
        self.initialised.fill_(True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x → (y, log|det dy/dx| as a float64 scalar)."""
        log_scale, bias = self._tiled(x)
        return x * log_scale.exp() + bias, self._log_det()

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The exact inverse: y → (x, log|det dx/dy| as a float64 scalar)."""
        log_scale, bias = self._tiled(y)
        return (y - bias) * (-log_scale).exp(), -self._log_det()

    def _tiled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        phases = x.shape[1] // self.bias.shape[1]
        return self.log_scale.repeat(1, phases, 1, 1), self.bias.repeat(1, phases, 1, 1)

    def _log_det(self) -> Tensor:
        return self.log_scale.sum(dtype=torch.float64) * self.num_pixels
