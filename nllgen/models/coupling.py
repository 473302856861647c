"""Coupling layers of Real NVP (Dinh, Sohl-Dickstein & Bengio 2017, §3.3–3.5) and the network inside them.

A checkerboard over pixels is equivalent to a split of the four phases of a 2×2 squeeze. With the phases

    a b
    c d

the black squares are {a, d} and the white ones {b, c}. So every coupling here splits *channels*, and the network runs
on the squeezed grid, where no computed pixel is masked away.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS = (0, 1, 2, 3)  # a b c d: the halves are the upper and lower rows
CHECKERBOARD = (0, 3, 1, 2)  # a d b c: the halves are the black and white squares


def squeeze(x: Tensor, order: tuple[int, ...] = ROWS) -> Tensor:
    """Reshape (N, C, H, W) → (N, 4·C, H/2, W/2), phase-major: all channels of a phase, then the next in ``order``."""
    n, c, h, w = x.shape
    phases = F.pixel_unshuffle(x, 2).reshape(n, c, 4, h // 2, w // 2).unbind(2)
    return torch.cat([phases[i] for i in order], dim=1)


def unsqueeze(x: Tensor, order: tuple[int, ...] = ROWS) -> Tensor:
    """Invert :func:`squeeze`: (N, 4·C, H, W) → (N, C, 2·H, 2·W)."""
    phases = x.chunk(4, dim=1)
    return F.pixel_shuffle(torch.stack([phases[order.index(i)] for i in range(4)], dim=2).flatten(1, 2), 2)


class ResidualBlock(nn.Module):
    """Pre-activation block h + conv(relu(conv(relu(h)))), the identity where its second convolution is 0."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        change: Tensor = self.conv2(F.relu(self.conv1(F.relu(h)), inplace=True))
        return change.add_(h)  # in place: allocating a tensor of this size takes longer than the sum


class ConvResNet(nn.Module):
    """Residual network (N, in, H, W) → (N, out, H, W). Its last convolution starts at 0, so a new network returns 0."""

    def __init__(self, in_channels: int, out_channels: int, width: int, num_blocks: int):
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(num_blocks))
        self.last = nn.Conv2d(width, out_channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) → (N, out, H, W)."""
        h = self.first(x.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = block(h)
        out: Tensor = self.last(F.relu(h, inplace=True))
        return out


class Coupling(nn.Module):
    """Affine map of one half of the channels, conditioned on the other: y = x · exp(s) + t with s = scale · tanh(·).

    ``scale`` starts at 1 and the network's last convolution at 0. A new coupling is therefore the identity, and every
    parameter has a gradient from the second step on. With both at 0 none would ever have one.

    Args:
        flip: transform the first half conditioned on the second, instead of the second on the first.
        additive: only t, which preserves volume (NICE: Dinh et al. 2015).
    """

    def __init__(self, num_channels: int, width: int, num_blocks: int, *, flip: bool, additive: bool):
        super().__init__()
        assert num_channels % 2 == 0
        half = num_channels // 2
        self.flip = flip
        self.additive = additive
        self.net = ConvResNet(half, half if additive else 2 * half, width, num_blocks)
        if not additive:
            self.scale = nn.Parameter(torch.ones(1, half, 1, 1))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map x (N, C, H, W) → (y, log|det dy/dx| (N,) in float64).

        Padding is 0 in x and in ``valid`` (1, C, H, W), which is 1 where a pixel counts for the log-determinant.
        """
        identity, transformed = self._split(x)
        s, t = self._scale_shift(identity)
        if s is None:
            return self._join(identity, transformed + t), zero_log_det(x)
        return self._join(identity, transformed * s.exp() + t), self._log_det(s, valid)

    def inverse(self, y: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Invert :meth:`forward` exactly: y → (x, log|det dx/dy|)."""
        identity, transformed = self._split(y)
        s, t = self._scale_shift(identity)
        if s is None:
            return self._join(identity, transformed - t), zero_log_det(y)
        return self._join(identity, (transformed - t) * (-s).exp()), -self._log_det(s, valid)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.chunk(2, dim=1)
        return (second, first) if self.flip else (first, second)

    def _join(self, identity: Tensor, transformed: Tensor) -> Tensor:
        return torch.cat((transformed, identity) if self.flip else (identity, transformed), dim=1)

    def _scale_shift(self, identity: Tensor) -> tuple[Tensor | None, Tensor]:
        # The network is channels-last and, under autocast, bf16; the affine map is contiguous and fp32.
        out = self.net(identity).to(identity.dtype, memory_format=torch.contiguous_format)
        if self.additive:
            return None, out
        raw, t = out.chunk(2, dim=1)
        return self.scale * raw.tanh(), t

    def _log_det(self, s: Tensor, valid: Tensor | None) -> Tensor:
        if valid is not None:
            s = s * self._split(valid)[1]
        return s.sum((1, 2, 3), dtype=torch.float64)


def zero_log_det(x: Tensor) -> Tensor:
    """Return the log-determinant of a map that preserves volume, for a batch x: (N,) zeros in float64."""
    return x.new_zeros(x.shape[0], dtype=torch.float64)
