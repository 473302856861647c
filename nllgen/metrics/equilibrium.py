"""The game linearised at an equilibrium: how large may a step of simultaneous gradient play be?

Near an equilibrium w*, simultaneous steps are w ← w + h A (w − w*), with A the Jacobian of the field
(−∇θ L_G, −ρ ∇ψ L_D). A mode λ of A dies out while |1 + hλ| < 1: for h < −2 Re λ/|λ|² where Re λ < 0, for no h
elsewhere (Mescheder, Nowozin & Geiger 2017, §3; Mescheder, Geiger & Nowozin 2018, §2). The smallest of these bounds is
the critical step h*.

For NSGAN where d ≡ 0 and q = p, with f = ∂d/∂ψ, m = E_p[ffᵀ] and c = ∂θ E_q[f] (cf. Nagarajan & Kolter 2017, §3),

    A = ½ [[0, cᵀ], [−ρ c, −ρ m]],

for L_D has the Hessian ¼ E_p[ffᵀ] + ¼ E_q[ffᵀ] and the mixed derivative ½ c in ψ, L_G has −½ cᵀ, and neither ∇ₓd nor
its derivative in x is left. Where m and c share a mode and ρ = 1, λ = ¼(−m ± √(m² − 4c²)): h* = 2m/c² where m < 2c, and
8/(m + √(m² − 4c²)) where m ≥ 2c. The kernel {cθ = 0, mψ = 0, cᵀψ = 0} is what the game does not decide: generators with
the same E_q[f], discriminators with the same d. Nothing to first order holds training there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from nllgen.metrics.game import Game

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]

# |λ| of at most this times the largest is a null direction. At any step that the largest real mode survives, h ≤ 2/|λ|,
# such a mode grows by a factor of at most 1 + 2·τ² a step, and shrinks by at most 1 − 2·τ.
NULL_TOLERANCE = 1e-6
DENSE_PARAMETERS = 300  # up to here the whole Jacobian is made, at a product a parameter; Krylov takes some 30
_ROUNDING = 1e-13  # of the largest |λ|: a real part this small may have either sign
_MAX_KRYLOV = 300  # products with the Jacobian
_CHECK_EVERY = 4
_SETTLED = 1e-4  # relative change of the critical steps over three checks
_CLOSED = 1e-10  # relative size of what leaves the Krylov space


class Equilibrium(NamedTuple):
    """What a linearised game says of simultaneous steps.

    Attributes:
        critical_step: steps below it contract every mode but the null ones. 0 where a mode grows at every step, inf
            where there is no mode.
        critical_step_run: the smallest step at which a mode grows by a factor e within the run; above
            ``critical_step``, and as much as a run of that length can show.
        mode: the λ behind ``critical_step``: a rotation by about h·Im λ radians a step.
        num_null: null directions. Counted in a dense Jacobian; from Krylov, a lower bound.
        num_modes: eigenvalues that were looked at, null ones included.
    """

    critical_step: float
    critical_step_run: float
    mode: complex
    num_null: int
    num_modes: int


def predict(game: Game, num_steps: float, *, dense: int = DENSE_PARAMETERS) -> Equilibrium:
    """The critical steps of a game whose players are at an equilibrium.

    Args:
        game: the game.
        num_steps: simultaneous steps of the run, for ``critical_step_run``.
        dense: up to so many parameters every eigenvalue is found; beyond, those that decide, by Krylov.
    """
    if game.num_parameters <= dense:
        modes = np.linalg.eigvals(jacobian(game)).astype(np.complex128)
        num_null = int((~not_null(modes)).sum())
    else:
        modes, num_null = krylov_modes(game, num_steps), least_null(game)
    bounds = step_bounds(modes)
    mode = complex(modes[bounds.argmin()]) if len(modes) else complex(math.nan)
    return Equilibrium(critical_step(modes), critical_step(modes, num_steps), mode, num_null, len(modes))


def jacobian(game: Game) -> FloatArray:
    """A as a matrix (n, n), in the coordinates of :meth:`Game.products`."""
    eye = torch.eye(game.num_parameters, dtype=torch.float64, device=game.device)
    return game.products(eye).cpu().numpy()


def not_null(modes: ComplexArray) -> npt.NDArray[np.bool_]:
    """Which eigenvalues (k,) belong to no null direction, by ``NULL_TOLERANCE``."""
    size = np.abs(modes)
    kept: npt.NDArray[np.bool_] = size > NULL_TOLERANCE * size.max(initial=0.0)
    return kept


def step_bounds(modes: ComplexArray, num_steps: float = math.inf) -> FloatArray:
    """For each λ (k,), the step h at which |1 + hλ| = exp(1/num_steps); inf for null directions.

    It is the positive root of |λ|² h² + 2 Re λ h = exp(2/num_steps) − 1. For an endless run, −2 Re λ/|λ|², and 0 where
    Re λ ≥ 0.
    """
    rounding = _ROUNDING * np.abs(modes).max(initial=0.0)
    real = np.where(np.abs(modes.real) <= rounding, 0.0, modes.real)
    growth = math.expm1(2 / num_steps)
    size = np.where(not_null(modes), np.abs(modes), 1.0)
    root = np.hypot(real, size * math.sqrt(growth))
    # two forms of the same root, neither of which cancels
    bounds = np.where(real > 0, growth / (np.abs(real) + root + (root == 0)), (root - real) / size**2)
    return np.where(not_null(modes), bounds, np.inf)


def critical_step(modes: ComplexArray, num_steps: float = math.inf) -> float:
    """The smallest of :func:`step_bounds`; inf without modes."""
    return float(step_bounds(modes, num_steps).min(initial=math.inf))


def krylov_modes(game: Game, num_steps: float) -> ComplexArray:
    """Ritz values of Aᵀ by Arnoldi's method, among them those that decide the critical steps.

    A mode that grows at step h lies outside the circle |1 + hλ| = 1, so that the deciding ones are at the rim of the
    spectrum, where Ritz values settle first. The start lies in the range of Aᵀ, which keeps null directions out. The
    whole basis is kept and orthogonalised twice. ARPACK's restarts (``scipy.sparse.linalg.eigs``) need two runs for
    each critical step, and where the wanted number of values cuts a cluster, thousands of products in place of some 20.
    """
    device, n = game.device, game.num_parameters
    start = torch.randn(1, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(device)
    basis, hessenberg = [_normalised(game.products(start))], np.zeros((_MAX_KRYLOV + 1, _MAX_KRYLOV))
    seen: list[FloatArray] = []
    modes: ComplexArray = np.zeros(0, np.complex128)
    for j in range(min(_MAX_KRYLOV, n)):
        new, space = game.products(basis[-1]), torch.cat(basis)
        for _ in range(2):
            along = space @ new[0]
            new = new - along @ space
            hessenberg[: j + 1, j] += along.cpu().numpy()
        hessenberg[j + 1, j] = float(new.norm())
        closed = hessenberg[j + 1, j] <= _CLOSED * np.abs(hessenberg).max()
        if closed or j % _CHECK_EVERY == _CHECK_EVERY - 1:
            modes = np.linalg.eigvals(hessenberg[: j + 1, : j + 1]).astype(np.complex128)
            seen.append(np.array([critical_step(modes), critical_step(modes, num_steps)]))
            if closed or _settled(seen):
                break
        basis.append(_normalised(new))
    return modes


def _normalised(vector: torch.Tensor) -> torch.Tensor:
    unit: torch.Tensor = vector / vector.norm().clamp_min(torch.finfo(torch.float64).tiny)
    return unit


def _settled(seen: list[FloatArray]) -> bool:
    last = np.stack(seen[-3:])
    return len(last) == 3 and bool((np.ptp(last, axis=0) <= _SETTLED * np.abs(last[-1])).all())


def least_null(game: Game) -> int:
    """A lower bound of the number of null directions of NSGAN's game: what its Jacobian does not touch.

    The kernel has as many dimensions as A has columns of zeros, or more. Where L_G has no curvature in θ, as at d ≡ 0,
    all of A goes through the k parameters of the discriminator that it touches, and its rank is at most 2k.
    """
    n, num_gen = game.num_parameters, game.num_gen
    probes = torch.randn(2, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(game.device)
    probes[0, num_gen:] = 0
    probes[1, :num_gen] = 0
    from_gen, from_disc = game.products(probes).abs()
    size = torch.maximum(from_gen, from_disc)
    rounding = 1e-12 * size.max()
    touched = size > rounding
    curved = bool(from_gen[:num_gen].max() > rounding)
    rank = int(touched.sum()) if curved else 2 * int(touched[num_gen:].sum())
    return max(n - rank, 0)
