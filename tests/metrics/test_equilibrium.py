"""Critical steps compared with games of known spectrum, and with simultaneous steps.

**Dirac-GAN** (Mescheder, Geiger & Nowozin 2018, §2): p = δ₀, q = δ_θ, d(x) = ψx. With instance noise of standard
deviation σ on both sides (their lemma 3.2), m = E[x²] = σ² and c = ∂θ E_q[x] = 1, so λ = ¼(−σ² ± √(σ⁴ − 4)), which is
their f″(0)σ² ± √(f″(0)²σ⁴ − f′(0)²) with f′(0) = ½ and f″(0) = −¼. With R1, λ = −γ/2 ± √(γ²/4 − f′(0)²). Noise of two
points ±σ has the two moments that the linearised game sees.

**Linear-Gaussian game**: p = N(0, diag(s²)), G(z) = Az + b with A full, at A = diag(s), b = 0, against the optimal kind
of discriminator for normal densities, d(x) = ψ₀ + Σ ψᵢ xᵢ + Σ_{i≤j} ψᵢⱼ (xᵢxⱼ − δᵢⱼ sᵢ²). Its features are uncorrelated
under p (Isserlis): m = diag(1; sᵢ²; 2sᵢ⁴ for i = j, sᵢ²sⱼ² for i < j). With E_q[xxᵀ] = AAᵀ + bbᵀ,

    ∂E_q[xᵢ] = δbᵢ,   ∂E_q[xᵢ² − sᵢ²] = 2sᵢ δAᵢᵢ,   ∂E_q[xᵢxⱼ] = sⱼ δAᵢⱼ + sᵢ δAⱼᵢ,

so that the rows of c are orthogonal, with norms 0 (ψ₀); 1; 2sᵢ; √(sᵢ² + sⱼ²), and each feature is a mode of its own:
two eigenvalues ¼(−m ± √(m² − 4c²)), but −½ alone for ψ₀, which moves nothing. In the plane (δAᵢⱼ, δAⱼᵢ) one direction
is left over: A → A·rotation gives the same q. Those D(D−1)/2 directions are null.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from nllgen.metrics.equilibrium import (
    ComplexArray,
    critical_step,
    is_not_null,
    jacobian,
    krylov_modes,
    min_num_null,
    predict,
    step_bounds,
)
from nllgen.metrics.exact import FloatArray
from nllgen.metrics.game import Game, nsgan_game
from nllgen.models import RealNVP
from nllgen.study.config import FlowConfig
from tests.metrics.games import dirac_game, gaussian_game, gaussian_modes, mode_pair, small_players


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Use one thread, which is faster for games this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ordered(modes: Sequence[complex] | ComplexArray) -> ComplexArray:
    array = np.asarray(modes, np.complex128)
    in_order: ComplexArray = array[np.lexsort((array.imag.round(9), array.real.round(9)))]
    return in_order


def eigenvalues(matrix: FloatArray) -> ComplexArray:
    return np.linalg.eigvals(matrix).astype(np.complex128)


@functools.cache
def small_jacobian(trained: bool = False) -> FloatArray:
    return jacobian(small_players(trained=trained))


def growth(game: Game, h: float, steps: int) -> float:
    """Return the growth of the field over the second half of ``steps`` steps from a start near the equilibrium."""
    noise = torch.Generator().manual_seed(3)
    players = (*game.gen, *game.disc)
    start = [p.detach().clone() for p in players]
    with torch.no_grad():
        for p in players:
            p += 1e-7 * torch.randn(p.shape, generator=noise, dtype=torch.float64)
    for step in range(steps):
        field = game.field()
        if step == steps // 2:
            middle = float(field.norm())
        if field.norm() > 1e-3:  # beyond the linear range
            return math.inf
        with torch.no_grad():
            for p, change in zip(players, torch.split(field, [p.numel() for p in players]), strict=True):
                p += h * change.view_as(p)
    with torch.no_grad():
        for p, value in zip(players, start, strict=True):
            p.copy_(value)
    return float(field.norm()) / middle


def observed_critical_step(make: Callable[[], Game], guess: float, steps: int) -> float:
    """Find the critical step by bisection, to 1 %."""
    low, high = guess / 1.3, guess * 1.3
    assert growth(make(), low, steps) < 1 < growth(make(), high, steps)
    while high / low > 1.02:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if growth(make(), middle, steps) < 1 else (low, middle)
    return math.sqrt(low * high)


def test_a_dirac_gan_rotates_and_has_critical_step_0() -> None:
    game = dirac_game()
    np.testing.assert_allclose(ordered(eigenvalues(jacobian(game))), [-0.5j, 0.5j], atol=1e-15)
    assert predict(game, math.inf).critical_step == 0.0


@pytest.mark.parametrize("sigma", [0.5, 1.3, 1.6])
@pytest.mark.parametrize("rho", [1.0, 0.3])
def test_a_dirac_gan_with_instance_noise_has_its_published_eigenvalues(sigma: float, rho: float) -> None:
    found = eigenvalues(jacobian(dirac_game(sigma, lr_ratio=rho)))
    np.testing.assert_allclose(ordered(found), ordered(mode_pair(sigma**2, 1.0, rho)), atol=1e-12)


@pytest.mark.parametrize("gamma", [0.3, 2.0])
def test_a_dirac_gan_with_r1_has_its_published_eigenvalues(gamma: float) -> None:
    root = np.sqrt(complex(gamma**2 / 4 - 0.25))
    found = eigenvalues(jacobian(dirac_game(gamma=gamma)))
    np.testing.assert_allclose(ordered(found), ordered([-gamma / 2 + root, -gamma / 2 - root]), atol=1e-12)


@pytest.mark.parametrize(("m", "c"), [(0.3, 1.0), (1.9, 1.0), (2.0, 1.0), (5.0, 1.0), (1e-3, 0.4)])
def test_the_bounds_of_one_mode_are_the_closed_forms(m: float, c: float) -> None:
    expected = 2 * m / c**2 if m < 2 * c else 8 / (m + math.sqrt(m**2 - 4 * c**2))
    assert critical_step(np.array(mode_pair(m, c))) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mode", [-0.1 + 2j, 0.01 + 1j, -3 + 0j, 1j])
def test_within_a_run_the_mode_grows_by_e_at_its_bound(mode: complex) -> None:
    h = step_bounds(np.array([mode]), 500)[0]
    assert abs(1 + h * mode) ** 500 == pytest.approx(math.e, rel=1e-9)


def test_a_growing_mode_has_critical_step_0() -> None:
    assert critical_step(np.array([-1 + 0j, 0.1 + 1j])) == 0.0


def test_null_directions_bound_nothing() -> None:
    modes = np.array([-1.0 + 0j, 1e-7j, 0j])
    assert is_not_null(modes).tolist() == [True, False, False]
    assert critical_step(modes) == 2.0
    assert critical_step(np.zeros(2, np.complex128)) == math.inf


def test_the_linear_gaussian_game_has_its_closed_form_spectrum() -> None:
    found = eigenvalues(jacobian(gaussian_game()))
    kept = is_not_null(found)
    np.testing.assert_allclose(ordered(found[kept]), ordered(gaussian_modes()), atol=1e-9)
    assert (~kept).sum() == 3  # rotations of three dimensions


def test_the_linear_gaussian_game_is_at_rest() -> None:
    assert gaussian_game().field().abs().max() < 1e-15


def test_krylov_finds_the_linear_gaussian_games_critical_step() -> None:
    found = predict(gaussian_game(), 1000, dense=0)
    assert found.critical_step == pytest.approx(critical_step(np.array(gaussian_modes())), rel=1e-6)
    assert found.critical_step_run == pytest.approx(critical_step(np.array(gaussian_modes()), 1000), rel=1e-6)


@pytest.mark.parametrize(
    ("make", "modes"),
    [(lambda: dirac_game(0.6), mode_pair(0.36, 1.0)), (lambda: gaussian_game((0.7, 1.2)), gaussian_modes((0.7, 1.2)))],
    ids=["Dirac", "linear Gaussian"],
)
def test_simultaneous_steps_turn_from_contracting_to_diverging_at_the_predicted_step(
    make: Callable[[], Game], modes: Sequence[complex]
) -> None:
    predicted = predict(make(), math.inf).critical_step
    assert predicted == pytest.approx(critical_step(np.array(modes)), rel=1e-6)
    assert observed_critical_step(make, predicted, steps=300) == pytest.approx(predicted, rel=0.02)


def test_a_flow_against_its_discriminator_is_at_rest_on_its_own_samples() -> None:
    assert small_players().field().abs().max() < 1e-15


@pytest.mark.parametrize("trained", [False, True], ids=["d = 0", "trained"])
def test_krylov_agrees_with_the_dense_jacobian_of_a_flow_and_a_discriminator(trained: bool) -> None:
    modes, krylov = eigenvalues(small_jacobian(trained)), predict(small_players(trained=trained), 2000, dense=0)
    assert krylov.num_modes < len(modes) / 2
    assert krylov.critical_step == pytest.approx(critical_step(modes), rel=1e-3)
    assert krylov.critical_step_run == pytest.approx(critical_step(modes, 2000), rel=1e-3)
    assert krylov.num_null <= (~is_not_null(modes)).sum()


def test_a_discriminator_at_zero_leaves_as_many_null_directions_as_its_features_do_not_see() -> None:
    game = small_players()
    features = 3 + 1  # and the bias, whose mode has no partner
    assert is_not_null(eigenvalues(small_jacobian())).sum() == 2 * features - 1
    assert min_num_null(game) == game.num_parameters - 2 * features


def test_the_jacobian_is_the_derivative_of_the_field() -> None:
    game = small_players(trained=True)
    players = (*game.gen, *game.disc)
    direction = torch.randn(game.num_parameters, generator=torch.Generator().manual_seed(1)).double()
    fields = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, part in zip(players, torch.split(direction, [p.numel() for p in players]), strict=True):
                p += sign * 1e-6 * part.view_as(p)
        fields.append(game.field())
        with torch.no_grad():
            for p, part in zip(players, torch.split(direction, [p.numel() for p in players]), strict=True):
                p -= sign * 1e-6 * part.view_as(p)
    numeric = (fields[0] - fields[1]) / 2e-6
    np.testing.assert_allclose(small_jacobian(True) @ direction.numpy(), numeric, rtol=1e-4, atol=1e-6)


def test_the_lr_ratio_scales_the_discriminators_rows() -> None:
    # similar matrices: √ρ on either side against ρ on the rows
    both, rho = jacobian(dirac_game(0.8)), 4.0
    found = eigenvalues(jacobian(dirac_game(0.8, lr_ratio=rho)))
    np.testing.assert_allclose(ordered(found), ordered(eigenvalues(np.diag([1, rho]) @ both)), atol=1e-12)


def test_r1_of_a_flows_game_damps_its_modes() -> None:
    flow = RealNVP(FlowConfig(shape=(1, 2, 2), width=2, blocks=0, scales=1))
    linear = nn.Linear(4, 1)
    disc = nn.Sequential(nn.Flatten(), linear, nn.Flatten(0))
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    z = torch.randn(200, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    games = [nsgan_game(flow, disc, lambda x: x, z, r1_gamma=gamma) for gamma in (0.0, 0.5)]
    weights = torch.eye(games[0].num_parameters, dtype=torch.float64)[-5:-1]
    damping = games[1].products(weights) - games[0].products(weights)
    # d is linear: γ/2 ‖w‖² has the Hessian γ on its four weights
    np.testing.assert_allclose(damping[:, -5:-1], -0.5 * np.eye(4), atol=1e-12)
    assert damping.abs().sum().item() == pytest.approx(2.0)


def test_krylov_of_a_marginal_game_gives_critical_step_0() -> None:
    assert critical_step(krylov_modes(dirac_game(), 100.0)) == 0.0
