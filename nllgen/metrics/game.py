"""Gradient play of two players as a vector field, and products with its Jacobian by double backward."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from nllgen.models import RealNVP

_BATCH = 128  # samples per graph: about 2 GB for a flow of width 32 at 28×28


@dataclass(frozen=True)
class Game:
    """Two players that descend their own losses simultaneously: θ ← θ − h ∇θ L_G, ψ ← ψ − h ρ ∇ψ L_D.

    Attributes:
        gen, disc: their parameters θ and ψ, float64 leaves.
        losses: yields (L_D, L_G) of parts of the samples; the sums of the parts are the losses.
        lr_ratio: ρ, the discriminator's learning rate divided by the generator's; h is the generator's.
    """

    gen: Sequence[Tensor]
    disc: Sequence[Tensor]
    losses: Callable[[], Iterator[tuple[Tensor, Tensor]]]
    lr_ratio: float = 1.0

    @property
    def num_gen(self) -> int:
        """Count the generator's parameters, which come first in every vector."""
        return sum(p.numel() for p in self.gen)

    @property
    def num_parameters(self) -> int:
        """Count n, the parameters of both players."""
        return self.num_gen + sum(p.numel() for p in self.disc)

    @property
    def device(self) -> torch.device:
        """Return the device of the parameters."""
        return self.gen[0].device

    def field(self) -> Tensor:
        """Compute (−∇θ L_G, −ρ ∇ψ L_D) as one vector (n,); 0 at an equilibrium."""
        total = torch.zeros(self.num_parameters, dtype=torch.float64, device=self.device)
        for part in self._fields():
            total += part.detach()
        return total * self._scale().square()

    def products(self, vectors: Tensor) -> Tensor:
        """Compute uᵀA for every row u of (k, n) → (k, n), with A the field's Jacobian.

        A is in coordinates in which both learning rates are 1 (ψ/√ρ instead of ψ). That preserves its eigenvalues, and
        makes A skew plus negative semidefinite at an equilibrium, so that they are well conditioned.
        """
        scale, players = self._scale(), (*self.gen, *self.disc)
        products = torch.zeros_like(vectors)
        for part in self._fields():
            for row, vector in zip(products, vectors, strict=True):
                grads = torch.autograd.grad(
                    part, players, scale * vector, retain_graph=True, allow_unused=True, materialize_grads=True
                )
                row += scale * torch.cat([grad.flatten() for grad in grads])
        return products

    def _fields(self) -> Iterator[Tensor]:
        """Yield parts of (−∇θ L_G, −∇ψ L_D), each with its graph."""
        for loss_disc, loss_gen in self.losses():
            grads = (
                *torch.autograd.grad(loss_gen, self.gen, create_graph=True, materialize_grads=True),
                *torch.autograd.grad(loss_disc, self.disc, create_graph=True, materialize_grads=True),
            )
            yield -torch.cat([grad.flatten() for grad in grads])

    def _scale(self) -> Tensor:
        scale = torch.ones(self.num_parameters, dtype=torch.float64, device=self.device)
        scale[self.num_gen :] = math.sqrt(self.lr_ratio)
        return scale


def nsgan_game(
    flow: RealNVP,
    disc: nn.Module,
    view: Callable[[Tensor], Tensor],
    z: Tensor,
    *,
    lr_ratio: float = 1.0,
    r1_gamma: float = 0.0,
    real: Tensor | None = None,
) -> Game:
    """Create NSGAN's game with float64 copies of its players; expectations are means over fixed samples.

    Args:
        flow: the generator.
        disc: maps the output of ``view`` → d (N,).
        view: maps logits (N, C, H, W) to the discriminator's inputs.
        z: latents (M, C, H, W) of the generator's samples.
        lr_ratio: the discriminator's learning rate divided by the generator's.
        r1_gamma: γ of R1, γ/2 E_p‖∇d‖² in the discriminator's input space.
        real: samples of the truth (M, C, H, W). The default are the flow's own samples at ``z``: draws of the truth if
            the flow is the truth, for which E_p[f] = E_q[f] holds on the samples as well as in expectation.
    """
    flow, disc, z = copy.deepcopy(flow).double(), copy.deepcopy(disc).double(), z.double()
    latents = torch.split(z, _BATCH)
    with torch.no_grad():
        data = [flow.inverse(part)[0] for part in latents] if real is None else list(torch.split(real.double(), _BATCH))

    def losses() -> Iterator[tuple[Tensor, Tensor]]:
        for z_part, x_part in zip(latents, data, strict=True):
            real_inputs, fake_inputs = view(x_part), view(flow.inverse(z_part)[0])
            d_real, d_fake = disc(torch.cat((real_inputs, fake_inputs))).chunk(2)
            loss_disc = softplus(-d_real) + softplus(d_fake)
            if r1_gamma:
                loss_disc = loss_disc + 0.5 * r1_gamma * _input_gradient(disc, real_inputs).square().sum(1)
            yield loss_disc.sum() / len(z), softplus(-d_fake).sum() / len(z)

    return Game(tuple(flow.parameters()), tuple(disc.parameters()), losses, lr_ratio)


def _input_gradient(disc: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(disc(x).sum(), x, create_graph=True)
    return gradient.flatten(1)
