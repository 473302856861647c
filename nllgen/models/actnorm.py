"""Activation normalisation (Glow: Kingma & Dhariwal 2018, §3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MIN_STD = 1e-3  # bounds the scale of a constant channel


class ActNorm(nn.Module):
    """Per-channel affine map y = x · exp(log_scale) + bias, initialised from data.

    The map is the identity until it is initialised. The flag ``initialised`` is part of the state dict, so that a
    loaded model is not initialised a second time.

    Args:
        num_channels: C, channels of the image.
        num_pixels: H·W of the image. The input is either the image (N, C, H, W), or the image squeezed phase-major to
            (N, 4·C, H/2, W/2), where the four phases of a channel share its scale and bias.
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
        """Set scale and bias so that a batch is mapped to mean 0 and standard deviation 1 in each channel.

        Later calls change nothing. ``valid`` broadcasts to x, and is 1 where a pixel counts, 0 where it is padding.
        """
        if self.initialised:
            return
        n, _, h, w = x.shape
        mask = torch.ones_like(x) if valid is None else valid.expand_as(x)
        x, mask = (t.reshape(n, -1, self.bias.shape[1], h, w) for t in (x, mask))  # (N, phases, C, H, W)
        dims = (0, 1, 3, 4)
        count = mask.sum(dims)
        mean = (x * mask).sum(dims) / count
        centred = (x - mean.view(-1, 1, 1)) * mask
        std = (centred.square().sum(dims) / count).sqrt().clamp_min(_MIN_STD)
        self.log_scale.copy_(-std.log().view_as(self.log_scale))
        self.bias.copy_((-mean / std).view_as(self.bias))
        self.initialised.fill_(True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x → (y, log|det dy/dx| as a float64 scalar)."""
        log_scale, bias = self._tiled(x)
        return x * log_scale.exp() + bias, self._log_det()

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Invert the map exactly: y → (x, log|det dx/dy| as a float64 scalar)."""
        log_scale, bias = self._tiled(y)
        return (y - bias) * (-log_scale).exp(), -self._log_det()

    def _tiled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        phases = x.shape[1] // self.bias.shape[1]
        return self.log_scale.repeat(1, phases, 1, 1), self.bias.repeat(1, phases, 1, 1)

    def _log_det(self) -> Tensor:
        return self.log_scale.sum(dtype=torch.float64) * self.num_pixels
