"""Real NVP (Dinh, Sohl-Dickstein & Bengio 2017), multi-scale, without batch normalisation.

The map is the same in both directions and in train and eval mode.
"""

from __future__ import annotations

import copy
import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from nllgen.models.actnorm import ActNorm
from nllgen.models.base import normal_log_prob, student_t_from_normal, student_t_log_prob
from nllgen.models.coupling import CHECKERBOARD, Coupling, squeeze, unsqueeze, zero_log_det
from nllgen.models.model import DensityModel
from nllgen.study.config import FlowConfig


class Stage(nn.Module):
    """A sequence of couplings, each preceded by an ActNorm, over one split of the channels.

    With ``checkerboard`` the image is squeezed, its phases are split, and the output is unsqueezed. For that, an odd
    height or width is padded. Padding is 0 wherever a network sees it, is ignored in every sum, and is cropped at the
    end.
    """

    valid: Tensor | None

    def __init__(self, shape: tuple[int, int, int], count: int, width: int, config: FlowConfig, *, checkerboard: bool):
        super().__init__()
        channels, height, width_px = shape
        self.checkerboard = checkerboard
        self.padding = (0, width_px % 2, 0, height % 2) if checkerboard else (0, 0, 0, 0)
        self.norms = nn.ModuleList(ActNorm(channels, height * width_px) for _ in range(count))
        self.couplings = nn.ModuleList(
            Coupling(
                4 * channels if checkerboard else channels,
                width,
                config.blocks,
                flip=bool(i % 2),
                additive=config.coupling == "additive",
            )
            for i in range(count)
        )
        valid = self._squeeze(torch.ones(1, *shape)) if any(self.padding) else None
        self.register_buffer("valid", valid, persistent=False)

    def forward(self, x: Tensor, initialise: bool = False) -> tuple[Tensor, Tensor]:
        """Map x (N, C, H, W) → (y of the same shape, log|det dy/dx| (N,) in float64)."""
        x, log_det = self._squeeze(x), zero_log_det(x)
        for norm, coupling in self._layers():
            if initialise:
                norm.initialise(x, self.valid)
            x, from_norm = norm(x)
            x, from_coupling = coupling(self._masked(x), self.valid)
            log_det = log_det + from_norm + from_coupling
        return self._unsqueeze(x), log_det

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Invert :meth:`forward` exactly: y → (x, log|det dx/dy|)."""
        y, log_det = self._squeeze(y), zero_log_det(y)
        for norm, coupling in reversed(self._layers()):
            y, from_coupling = coupling.inverse(self._masked(y), self.valid)
            y, from_norm = norm.inverse(y)
            log_det = log_det + from_norm + from_coupling
        return self._unsqueeze(y), log_det

    def _layers(self) -> list[tuple[ActNorm, Coupling]]:
        return cast("list[tuple[ActNorm, Coupling]]", list(zip(self.norms, self.couplings, strict=True)))

    def _squeeze(self, x: Tensor) -> Tensor:
        return squeeze(F.pad(x, self.padding), CHECKERBOARD) if self.checkerboard else x

    def _unsqueeze(self, x: Tensor) -> Tensor:
        if not self.checkerboard:
            return x
        x = unsqueeze(x, CHECKERBOARD)
        return x[:, :, : x.shape[2] - self.padding[3], : x.shape[3] - self.padding[1]]

    def _masked(self, x: Tensor) -> Tensor:
        return x if self.valid is None else x * self.valid


class Scale(nn.Module):
    """Three checkerboard couplings, a squeeze, and three channel couplings; half of the channels become latents (§3.6).

    The channel couplings split the phases by rows, so that they differ from the checkerboard.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, config: FlowConfig):
        super().__init__()
        c, h, w = shape
        self.pixels = Stage(shape, 3, width, config, checkerboard=True)
        self.channels = Stage((4 * c, h // 2, w // 2), 3, 2 * width, config, checkerboard=False)
        self.shape_out = (2 * c, h // 2, w // 2)

    def forward(self, x: Tensor, initialise: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Map (N, C, H, W) → (kept (N, 2C, H/2, W/2), latents of the same shape, log_det (N,))."""
        x, first = self.pixels(x, initialise)
        x, second = self.channels(squeeze(x), initialise)
        kept, latent = x.chunk(2, dim=1)
        return kept, latent, first + second

    def inverse(self, kept: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Invert :meth:`forward` exactly: (kept, latents) → (x, log_det)."""
        x, first = self.channels.inverse(torch.cat((kept, latent), dim=1))
        x, second = self.pixels.inverse(unsqueeze(x))
        return x, first + second


class RealNVP(DensityModel):
    """A density on (C, H, W) arrays with exact log-density and exact sampling.

    ``forward`` maps data to latents and ``inverse`` maps latents to data. Terms are computed in the dtype of the input,
    sums over pixels and layers in float64.
    """

    def __init__(self, config: FlowConfig):
        super().__init__()
        self.config = config
        self.shape = config.shape
        self.scales = nn.ModuleList()
        shape, width = config.shape, config.width
        for _ in range(config.scales - 1):
            scale = Scale(shape, width, config)
            self.scales.append(scale)
            shape, width = scale.shape_out, 2 * width
        one_pixel = shape[1:] == (1, 1)  # cannot be split by a checkerboard; an even number of channels can be
        self.final = Stage(shape, 4, width, config, checkerboard=not one_pixel or shape[0] % 2 == 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, *, initialise: bool = False) -> tuple[Tensor, Tensor]:
        """Map data to latents.

        Args:
            x: (N, C, H, W).
            initialise: initialise every ActNorm from this batch that is not initialised yet.

        Returns:
            z (N, C, H, W) and log|det dz/dx| (N,) in float64, nats.
        """
        latents, log_det = [], zero_log_det(x)
        for scale in self.scales:
            x, latent, from_scale = scale(x, initialise)
            latents.append(latent)
            log_det = log_det + from_scale
        x, from_final = self.final(x, initialise)
        for latent in reversed(latents):
            x = unsqueeze(torch.cat((x, latent), dim=1))
        return x, log_det + from_final

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map latents z (N, C, H, W) to data x (N, C, H, W), with log|det dx/dz| (N,) in float64, nats."""
        x, latents, log_det = z, [], zero_log_det(z)
        for _ in self.scales:
            x, latent = squeeze(x).chunk(2, dim=1)
            latents.append(latent)
        x, from_final = self.final.inverse(x)
        for scale, latent in zip(reversed(self.scales), reversed(latents), strict=True):
            x, from_scale = cast("Scale", scale).inverse(x, latent)
            log_det = log_det + from_scale
        return x, log_det + from_final

    @override
    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Initialise every ActNorm from the batch ``x`` (N, C, H, W), except those that are initialised already."""
        self.forward(x, initialise=True)

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of x (N, C, H, W) → (N,) in float64, nats."""
        z, log_det = self.forward(x)
        return self.base_log_prob(z) + log_det

    @override
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n samples (n, C, H, W). Latents come from ``generator``, which must be on the model's device."""
        return self.inverse(self.sample_base(n, generator))[0]

    def base_log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of latents (N, C, H, W) under the base distribution → (N,) in float64, nats."""
        scale, dof = self.config.base_scale, self.config.dof
        if scale != 1.0:
            z = z / scale
        log_prob = normal_log_prob(z) if dof is None else student_t_log_prob(z, dof)
        return log_prob if scale == 1.0 else log_prob - self.config.num_dims * math.log(scale)

    def sample_base(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents (n, C, H, W) in the model's dtype and on its device."""
        like = next(self.parameters())
        z = torch.randn(n, *self.config.shape, generator=generator, device=like.device, dtype=like.dtype)
        if self.config.dof is not None:
            z = student_t_from_normal(z, self.config.dof, generator)
        return z if self.config.base_scale == 1.0 else z * self.config.base_scale


@torch.no_grad()
def numerical_errors(flow: RealNVP, x: Tensor) -> tuple[float, float]:
    """Return max |log q fp32 − log q fp64| in nats and max |x − inverse(forward(x))| over images x (N, C, H, W)."""
    double = copy.deepcopy(flow).double()
    density = (flow.log_prob(x) - double.log_prob(x.double())).abs().max()
    inverse = (flow.inverse(flow(x)[0])[0] - x).abs().max()
    return float(density), float(inverse)
