"""Simultaneous SGD from the Nash equilibrium: the predicted critical step beside the observed one.

A 7×7 truth trained on MNIST plays against the project's discriminator at zero. The observations are steps of the real
paradigm: in fp64 on a fixed batch (the flow's own samples on both sides), and in fp32 on fresh batches.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor

from nllgen.assets import asset_folder, require_images
from nllgen.data.logits import dequantise, to_logits, unclipped_pixels
from nllgen.data.published import load_published
from nllgen.metrics.equilibrium import critical_step, predict
from nllgen.metrics.exact import draw, kl, log_densities
from nllgen.metrics.game import Game, nsgan_game
from nllgen.models import RealNVP
from nllgen.paradigms.base import Context
from nllgen.paradigms.guard import Diverged
from nllgen.paradigms.nsgan import NSGAN
from nllgen.study.config import FlowConfig, NSGANConfig
from nllgen.train.streams import RandomStreams

CPU, ALPHA, NUM, RUN, BATCH = torch.device("cpu"), 1e-6, 250, 300, 64
Row = tuple[str, str, str]


def truth(steps: int = 600) -> RealNVP:
    """Train a flow of width 4 and 1 block by Adam on MNIST at 7×7."""
    torch.manual_seed(0)
    levels = load_published(require_images(asset_folder(), "mnist"), 7, 1000, 1000).train.images
    noise = torch.Generator().manual_seed(0)
    flow = RealNVP(FlowConfig(shape=(1, 7, 7), width=4, blocks=1, scales=1))
    optimizer = torch.optim.Adam(flow.parameters(), lr=2e-3)
    for step in range(steps):
        chosen = levels[torch.randint(len(levels), (256 if step == 0 else 128,), generator=noise)]
        x = to_logits(dequantise(chosen, noise), ALPHA)
        flow.initialise(x)
        optimizer.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        optimizer.step()
    return flow


def players(flow: RealNVP, lr: float, dtype: torch.dtype, batch: int) -> NSGAN:
    """Return the paradigm at the equilibrium."""
    context = Context(CPU, RandomStreams(0, CPU), nullcontext, partial(unclipped_pixels, alpha=ALPHA), 14.0)
    config = NSGANConfig(
        steps=RUN, batch_size=batch, lr=lr, disc_lr=lr, disc_width=2, optimizer="sgd", updates="simultaneous"
    )
    nsgan = NSGAN(config, copy.deepcopy(flow), context)
    nsgan.flow.to(dtype)
    nsgan.disc.to(dtype)
    return nsgan


def weights(nsgan: NSGAN) -> Tensor:
    """Return the weights of both players (n,)."""
    return torch.cat([p.detach().flatten() for p in (*nsgan.flow.parameters(), *nsgan.disc.parameters())])


def disturb(nsgan: NSGAN, direction: Tensor, size: float) -> None:
    """Move all weights along a direction (n,)."""
    every = [*nsgan.flow.parameters(), *nsgan.disc.parameters()]
    with torch.no_grad():
        for p, part in zip(every, direction.split([p.numel() for p in every]), strict=True):
            p.add_(size * part.view_as(p))


def fixed_batch_steps(nsgan: NSGAN, real: Tensor, steps: int) -> list[float]:
    """Return the norm of the vector field before each step of the same game."""
    norms: list[float] = []
    for step in range(steps):
        nsgan.context.streams["latent"].manual_seed(1)
        try:
            scalars = nsgan.step(lambda n: real, step)
        except Diverged:
            return [*norms, math.inf]
        norms.append(math.hypot(float(scalars["grad_norm"]), float(scalars["grad_norm_disc"])))
    return norms


def reduced(game: Game, nsgan: NSGAN) -> tuple[np.ndarray, np.ndarray]:
    """Return all non-zero eigenvalues and their right eigenvectors; A acts through the k weights of d's last layer."""
    k, n, num_gen = nsgan.disc.last.in_features + 1, game.num_parameters, game.num_gen
    rows = game.products(torch.eye(n, dtype=torch.float64)[-k:]).numpy()
    left, values, right = np.linalg.svd(rows[:, :num_gen], full_matrices=False)
    small = np.block([[np.zeros((k, k)), -(left * values).T], [left * values, rows[:, -k:]]])
    modes, vectors = np.linalg.eig(small)
    full = np.zeros((n, 2 * k), np.complex128)
    full[:num_gen], full[-k:] = right.T @ vectors[:k], vectors[k:]
    return modes, full


def bisect(grows: Callable[[float], bool], guess: float) -> float:
    """Return the smallest step for which ``grows`` holds, to 2 %, or NaN where it is not within a factor of 2."""
    low, high = guess / 2, guess * 2
    if grows(low) or not grows(high):
        return math.nan
    while high / low > 1.04:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if grows(middle) else (middle, high)
    return math.sqrt(low * high)


def rows() -> list[Row]:
    """Return rows of (quantity, measured, predicted)."""
    torch.set_num_threads(1)
    flow = truth()
    nsgan = players(flow, 1e-3, torch.float64, NUM)
    assert isinstance(nsgan.flow, RealNVP)
    z = nsgan.flow.sample_base(NUM, torch.Generator().manual_seed(1))
    with torch.no_grad():
        real = nsgan.flow.inverse(z)[0]
    game = nsgan_game(flow, nsgan.disc, nsgan.view, z)
    krylov = predict(game, RUN)
    modes, vectors = reduced(game, nsgan)
    exact, exact_run = critical_step(modes), critical_step(modes, RUN)
    mode = modes[np.argmin(np.abs(modes - krylov.mode))]
    n, num_null = f"{game.num_parameters:,}", game.num_parameters - 17
    return [
        (f"null directions of {n} (the Krylov bound)", f"{krylov.num_null:,}", f"{num_null:,} are null"),
        (
            f"critical step by Krylov, {krylov.num_modes} products",
            f"{krylov.critical_step:.6f}",
            f"{exact:.6f} by all modes",
        ),
        (f"within {RUN} steps, by Krylov", f"{krylov.critical_step_run:.6f}", f"{exact_run:.6f} by all modes"),
        (
            "its mode λ",
            f"{krylov.mode.real:.5f} ± {abs(krylov.mode.imag):.4f}i",
            "it rotates: Re λ is small beside Im λ",
        ),
        along_mode(flow, real, mode, vectors[:, modes == mode][:, 0], exact),
        from_anywhere(flow, real, exact_run),
        *(fresh_batches(flow, factor * exact_run, factor) for factor in (0.01, 0.1, 1.0, 3.0)),
    ]


def along_mode(flow: RealNVP, real: Tensor, mode: complex, vector: np.ndarray, predicted: float) -> Row:
    """Measure the bound of the critical mode: disturb it; the left eigenvector gives its amplitude after 40 steps."""
    direction = torch.from_numpy(np.real(vector) / np.linalg.norm(vector))
    left = vector.copy()
    left[: sum(p.numel() for p in flow.parameters())] *= -1  # Aᵀ = J A J with J = diag(−1, 1)

    def grows(h: float) -> bool:
        nsgan = players(flow, h, torch.float64, NUM)
        start = weights(nsgan)
        disturb(nsgan, direction, 1e-5)
        before = abs(left @ (weights(nsgan) - start).numpy())
        fixed_batch_steps(nsgan, real, 40)
        return bool(abs(left @ (weights(nsgan) - start).numpy()) > before)

    observed = bisect(grows, predicted)
    what = "fixed batch, fp64: step from which the critical mode grows"
    return what, f"{observed:.5f} ± 2 %", f"{predicted:.5f} predicted"


def from_anywhere(flow: RealNVP, real: Tensor, predicted: float) -> Row:
    """Measure a run's critical step: disturb at random; the field grows √e-fold in the second half of the run."""

    def grows(h: float) -> bool:
        nsgan = players(flow, h, torch.float64, NUM)
        noise = torch.Generator().manual_seed(2)
        disturb(nsgan, torch.randn(len(weights(nsgan)), generator=noise, dtype=torch.float64), 1e-7)
        norms = fixed_batch_steps(nsgan, real, RUN)
        tenth = RUN // 10  # the maximum of a tenth, since the field rotates
        return len(norms) < RUN or max(norms[-tenth:]) / max(norms[RUN // 2 - tenth : RUN // 2]) > math.sqrt(math.e)

    observed = bisect(grows, predicted)
    what = f"fixed batch, fp64: step from which the field grows at e a run of {RUN} steps"
    return what, f"{observed:.5f} ± 2 %", f"{predicted:.5f} predicted"


def fresh_batches(flow: RealNVP, h: float, factor: float) -> Row:
    """Measure KL(p‖q) at the end of a run on fresh batches in fp32 that starts at the equilibrium."""
    nsgan = players(flow, h, torch.float32, BATCH)
    noise = torch.Generator().manual_seed(3)
    steps, end = 0, ""
    for steps in range(1, RUN + 1):
        try:
            nsgan.step(lambda n: draw(flow, n, noise), steps - 1)
        except Diverged:
            end = f", not finite at step {steps}"
            break
    x = draw(flow, 2000, torch.Generator().manual_seed(4))
    assert isinstance(nsgan.flow, RealNVP)
    divergence = kl(log_densities(flow, x), log_densities(nsgan.flow, x))
    what = f"fresh batches of {BATCH}, fp32, lr {h:.5f}: KL after {steps} steps"
    measured = f"{divergence.value:.3g} ± {divergence.se:.2g} nats{end}"
    return what, measured, f"lr is {factor:g} of the step predicted for {RUN} steps"
