"""Linearisation of a game at an equilibrium, and the largest stable step of simultaneous gradient play.

Near an equilibrium w*, simultaneous steps are w ← w + h A (w − w*), with A the Jacobian of the field
(−∇θ L_G, −ρ ∇ψ L_D). A mode λ of A decays while |1 + hλ| < 1: for h < −2 Re λ/|λ|² if Re λ < 0, and for no h otherwise
(Mescheder, Nowozin & Geiger 2017, §3; Mescheder, Geiger & Nowozin 2018, §2). The smallest of these bounds is the
critical step h*.

For NSGAN where d ≡ 0 and q = p, with f = ∂d/∂ψ, m = E_p[ffᵀ] and c = ∂θ E_q[f] (cf. Nagarajan & Kolter 2017, §3),

    A = ½ [[0, cᵀ], [−ρ c, −ρ m]],

because L_D has the Hessian ¼ E_p[ffᵀ] + ¼ E_q[ffᵀ] and the mixed derivative ½ c in ψ, L_G has −½ cᵀ, and both ∇ₓd and
its derivative in x vanish. Where m and c share a mode and ρ = 1, λ = ¼(−m ± √(m² − 4c²)): h* = 2m/c² if m < 2c, and
8/(m + √(m² − 4c²)) if m ≥ 2c. The kernel {cθ = 0, mψ = 0, cᵀψ = 0} contains the directions that the game leaves
undetermined: generators with the same E_q[f] and discriminators with the same d. To first order, nothing keeps training
from drifting along them.
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

# A mode with |λ| of at most τ times the largest is a null direction. At any step h ≤ 2/|λ|, which the largest real mode
# requires for stability, it grows by a factor of at most 1 + 2·τ² per step, and decays by at most 1 − 2·τ.
NULL_TOLERANCE = 1e-6
DENSE_PARAMETERS = 300  # up to this number the whole Jacobian is computed; Krylov takes some 30 products
_ROUNDING = 1e-13  # relative to the largest |λ|: the sign of a smaller real part is undetermined
_MAX_KRYLOV = 300  # products with the Jacobian
_CHECK_EVERY = 4
_CONVERGED = 1e-4  # relative change of the critical steps over three checks
_CLOSED = 1e-10  # relative norm of the component outside the Krylov space


class Equilibrium(NamedTuple):
    """Stability of simultaneous steps in a linearised game.

    Attributes:
        critical_step: smaller steps contract every mode except null ones. 0 if a mode grows at every step, inf if there
            is no mode.
        critical_step_run: the smallest step at which a mode grows by a factor e within the run. It is larger than
            ``critical_step``, and the most that a run of that length can show.
        mode: the λ that determines ``critical_step``: a rotation by about h·Im λ radians per step.
        num_null: null directions, counted in a dense Jacobian; a lower bound with Krylov.
        num_modes: eigenvalues that were computed, null ones included.
    """

    critical_step: float
    critical_step_run: float
    mode: complex
    num_null: int
    num_modes: int


def predict(game: Game, num_steps: float, *, dense: int = DENSE_PARAMETERS) -> Equilibrium:
    """Compute the critical steps of a game at an equilibrium and of a run of ``num_steps`` simultaneous steps.

    Up to ``dense`` parameters every eigenvalue is computed; beyond it, Krylov computes the decisive ones.
    """
    if game.num_parameters <= dense:
        modes = np.linalg.eigvals(jacobian(game)).astype(np.complex128)
        num_null = int((~is_not_null(modes)).sum())
    else:
        modes, num_null = krylov_modes(game, num_steps), min_num_null(game)
    bounds = step_bounds(modes)
    mode = complex(modes[bounds.argmin()]) if len(modes) else complex(math.nan)
    return Equilibrium(critical_step(modes), critical_step(modes, num_steps), mode, num_null, len(modes))


def jacobian(game: Game) -> FloatArray:
    """Compute A as a matrix (n, n), in the coordinates of :meth:`Game.products`."""
    eye = torch.eye(game.num_parameters, dtype=torch.float64, device=game.device)
    return game.products(eye).cpu().numpy()


def is_not_null(modes: ComplexArray) -> npt.NDArray[np.bool_]:
    """Select the eigenvalues (k,) that belong to no null direction, by ``NULL_TOLERANCE``."""
    size = np.abs(modes)
    mask: npt.NDArray[np.bool_] = size > NULL_TOLERANCE * size.max(initial=0.0)
    return mask


def step_bounds(modes: ComplexArray, num_steps: float = math.inf) -> FloatArray:
    """Compute for each λ (k,) the step h at which |1 + hλ| = exp(1/num_steps); inf for null directions.

    It is the positive root of |λ|² h² + 2 Re λ h = exp(2/num_steps) − 1. For an infinite run it is −2 Re λ/|λ|², and 0
    where Re λ ≥ 0.
    """
    rounding = _ROUNDING * np.abs(modes).max(initial=0.0)
    real = np.where(np.abs(modes.real) <= rounding, 0.0, modes.real)
    growth = math.expm1(2 / num_steps)
    size = np.where(is_not_null(modes), np.abs(modes), 1.0)
    root = np.hypot(real, size * math.sqrt(growth))
    # two forms of the same root, each without cancellation
    bounds = np.where(real > 0, growth / (np.abs(real) + root + (root == 0)), (root - real) / size**2)
    return np.where(is_not_null(modes), bounds, np.inf)


def critical_step(modes: ComplexArray, num_steps: float = math.inf) -> float:
    """Return the smallest of :func:`step_bounds`; inf without modes."""
    return float(step_bounds(modes, num_steps).min(initial=math.inf))


def krylov_modes(game: Game, num_steps: float) -> ComplexArray:
    """Compute Ritz values of Aᵀ by Arnoldi's method; they include those that determine the critical steps.

    A mode that grows at step h lies outside the circle |1 + hλ| = 1, so the decisive modes are at the boundary of the
    spectrum, where Ritz values converge first. The start vector lies in the range of Aᵀ, which excludes null
    directions. The whole basis is kept and orthogonalised twice. ARPACK's restarts (``scipy.sparse.linalg.eigs``) need
    two runs for each critical step, and thousands of products instead of some 20 if the requested number of values
    splits a cluster.
    """
    device, n = game.device, game.num_parameters
    start = torch.randn(1, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(device)
    basis, hessenberg = [_normalised(game.products(start))], np.zeros((_MAX_KRYLOV + 1, _MAX_KRYLOV))
    steps: list[FloatArray] = []
    modes: ComplexArray = np.zeros(0, np.complex128)
    for j in range(min(_MAX_KRYLOV, n)):
        new, space = game.products(basis[-1]), torch.cat(basis)
        for _ in range(2):
            components = space @ new[0]
            new = new - components @ space
            hessenberg[: j + 1, j] += components.cpu().numpy()
        hessenberg[j + 1, j] = float(new.norm())
        closed = hessenberg[j + 1, j] <= _CLOSED * np.abs(hessenberg).max()
        if closed or j % _CHECK_EVERY == _CHECK_EVERY - 1:
            modes = np.linalg.eigvals(hessenberg[: j + 1, : j + 1]).astype(np.complex128)
            steps.append(np.array([critical_step(modes), critical_step(modes, num_steps)]))
            if closed or _converged(steps):
                break
        basis.append(_normalised(new))
    return modes


def _normalised(vector: torch.Tensor) -> torch.Tensor:
    unit: torch.Tensor = vector / vector.norm().clamp_min(torch.finfo(torch.float64).tiny)
    return unit


def _converged(steps: list[FloatArray]) -> bool:
    last = np.stack(steps[-3:])
    return len(last) == 3 and bool((np.ptp(last, axis=0) <= _CONVERGED * np.abs(last[-1])).all())


def min_num_null(game: Game) -> int:
    """Compute a lower bound of the number of null directions of NSGAN's game.

    The kernel has at least as many dimensions as A has zero columns. If L_G has no curvature in θ, as at d ≡ 0, all of
    A passes through the k parameters of the discriminator with non-zero columns, and its rank is at most 2k.
    """
    n, num_gen = game.num_parameters, game.num_gen
    probes = torch.randn(2, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(game.device)
    probes[0, num_gen:] = 0
    probes[1, :num_gen] = 0
    from_gen, from_disc = game.products(probes).abs()
    size = torch.maximum(from_gen, from_disc)
    rounding = 1e-12 * size.max()
    non_zero = size > rounding
    curved = bool(from_gen[:num_gen].max() > rounding)
    rank = int(non_zero.sum()) if curved else 2 * int(non_zero[num_gen:].sum())
    return max(n - rank, 0)
