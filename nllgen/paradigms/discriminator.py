"""A discriminator like DCGAN's (Radford et al. 2016) without batch normalisation, for any image size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

_SLOPE = 0.2


class Discriminator(nn.Module):
    """Convolutional network (N, C, H, W) in about [−1, 1] → logits d (N,).

    If its last layer starts at 0, it returns d ≡ 0, the optimum at the Nash equilibrium. All other weights, which
    ``generator`` draws, are the same in both cases. Each convolution doubles the feature maps of the one before.
    """

    def __init__(
        self, shape: tuple[int, int, int], width: int, generator: torch.Generator, *, start_at_zero: bool = True
    ):
        super().__init__()
        channels, height, width_px = shape
        self.convs = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 5, stride=2, padding=2)
            for n_in, n_out in ((channels, width), (width, 2 * width), (2 * width, 4 * width))
        )
        for _ in self.convs:
            height, width_px = -(-height // 2), -(-width_px // 2)
        self.last = nn.Linear(4 * width * height * width_px, 1)
        self._initialise(generator)
        if not start_at_zero:
            nn.init.kaiming_normal_(self.last.weight, nonlinearity="linear", generator=generator)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        for name, parameter in self.convs.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter, a=_SLOPE, generator=generator)
            else:
                nn.init.zeros_(parameter)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits d (N,) of inputs (N, C, H, W)."""
        h = x.contiguous(memory_format=torch.channels_last)
        for conv in self.convs:
            h = F.leaky_relu(conv(h), _SLOPE, inplace=True)
        d: Tensor = self.last(h.flatten(1))
        return d.squeeze(1).to(x.dtype)


def normalise_layers(disc: Discriminator, generator: torch.Generator) -> None:
    """Divide the weight of each layer by its largest singular value (Miyato et al. 2018, §2.1).

    One power iteration a step approximates it; its vectors are a part of the state, and ``generator`` draws them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        for layer in (*disc.convs, disc.last):
            spectral_norm(layer)
