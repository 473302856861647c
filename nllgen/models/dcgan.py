"""Generator of a DCGAN (Radford et al. 2016): the positive control of the study, with samples but no density."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from nllgen.models.model import Model
from nllgen.study.config import DCGANConfig


class DCGAN(Model):
    """Latents z ~ N(0, 1) → two transposed convolutions of stride 2 → logits y (N, C, H, W).

    The discriminator and the metrics see pixels σ(y). Since 2σ(y) − 1 = tanh(y/2), the conversion from logits to pixels
    is the DCGAN's tanh. Group normalisation replaces batch normalisation, so that a sample does not depend on the
    others and the map is the same in train and eval mode.
    """

    def __init__(self, config: DCGANConfig):
        super().__init__()
        self.config = config
        self.shape = config.shape
        channels, height, width_px = config.shape
        half = (-(-height // 2), -(-width_px // 2))
        self.sizes = ((-(-half[0] // 2), -(-half[1] // 2)), half, (height, width_px))
        width = config.width
        self.first = nn.Linear(config.latent_dim, 4 * width * self.sizes[0][0] * self.sizes[0][1])
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1)
            for n_in, n_out in ((4 * width, 2 * width), (2 * width, width))
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, n) for n in (4 * width, 2 * width, width))
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (N, latent_dim) → logits (N, C, H, W)."""
        h = self.first(z).unflatten(1, (-1, *self.sizes[0]))
        h = h.contiguous(memory_format=torch.channels_last)
        h = F.relu(self.norms[0](h))
        for up, norm, (rows, columns) in zip(self.ups, self.norms[1:], self.sizes[1:], strict=True):
            h = F.relu(norm(up(h)[..., :rows, :columns]))
        y: Tensor = self.last(h)
        return y.to(z.dtype, memory_format=torch.contiguous_format)

    @override
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        weight = self.first.weight
        z = torch.randn(n, self.config.latent_dim, generator=generator, device=weight.device, dtype=weight.dtype)
        y: Tensor = self(z)
        return y
