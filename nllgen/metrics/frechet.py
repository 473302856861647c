"""The Fréchet distance between two Gaussians, exact and fast (Dowson & Landau 1982; Heusel et al. 2017, eq. 6).

d² = ‖μ₁ − μ₂‖² + tr Σ₁ + tr Σ₂ − 2 tr √(Σ₁Σ₂). With Σ₁ = FFᵀ, Σ₁Σ₂ has the eigenvalues of the symmetric G = FᵀΣ₂F, so
that the last trace is Σ √eig(G). F is Cholesky's factor, or one of lower rank where Σ₁ is singular. Nothing here takes
the square root of an unsymmetric matrix.

The largest part is ``eigvalsh``: 0.6 s at d = 2048 on one thread, by torch, numpy and scipy alike, so that torch, which
is here anyway, does all of it. Singular values of a factor's product would be more accurate and take 2.8 s.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nllgen.errors import NllgenError
from nllgen.metrics.measurement import Row
from nllgen.metrics.metric_group import Features, image_group

Array = npt.ArrayLike | Tensor

_BLOCK = 256
_RELATIVE_TOLERANCE = 1e-6  # of asymmetry and of negative eigenvalues, against tr Σ


class MetricInputError(NllgenError, ValueError):
    """Arrays that a metric cannot be computed from."""


def frechet_distance(mean1: Array, cov1: Array, mean2: Array, cov2: Array) -> float:
    """Squared Fréchet distance of two Gaussians, the quantity that FID reports.

    Args:
        mean1, mean2: (d,).
        cov1, cov2: (d, d), symmetric and positive semi-definite; they may be singular.

    Returns:
        The distance in squared units of the features, at least 0. Rounding leaves up to 1e-8 · (tr Σ₁ + tr Σ₂) of it
        where covariances are nearly singular, and some 1e-14 of that elsewhere.

    Raises:
        MetricInputError: shapes that do not fit, values that are not finite, a matrix that is no covariance.
    """
    m1, m2 = _checked("mean1", mean1, 1), _checked("mean2", mean2, 1)
    c1, c2 = _covariance("cov1", cov1, m1), _covariance("cov2", cov2, m2)
    if m1.shape != m2.shape:
        raise MetricInputError(f"mean1 has {len(m1)} features, mean2 has {len(m2)}", "use one extractor on both sides")
    # A feature that never varies on one side adds nothing to √(Σ₁Σ₂), and would keep Cholesky from succeeding.
    alive = (c1.diagonal() > 0) & (c2.diagonal() > 0)
    live1, live2 = (c if alive.all() else c[alive][:, alive] for c in (c1, c2))
    return _distance(m1, m2, c1.trace() + c2.trace(), _gram("cov1", live1, live2))


def frechet_from_features(X: Array, Y: Array) -> float:
    """Squared Fréchet distance between two sets of features, N and M of them.

    Args:
        X, Y: (N, d) and (M, d), at least two of each.

    Raises:
        MetricInputError: shapes that do not fit, or values that are not finite.
    """
    x, y = _features("X", X), _features("Y", Y)
    if x.shape[1] != y.shape[1]:
        raise MetricInputError(f"X has {x.shape[1]} features, Y has {y.shape[1]}", "use one extractor on both sides")
    num, dim = max(len(x), len(y)), x.shape[1]
    if num > dim:
        return frechet_distance(*moments(x), *moments(y))
    # Fewer images than features: the centred features are a factor of low rank, and tr √(Σ₁Σ₂) = ‖X̃Ỹᵀ‖_*.
    centred_x, centred_y = _scaled(x), _scaled(y)
    B = centred_x @ centred_y.T
    traces = centred_x.square().sum() + centred_y.square().sum()
    return _distance(x.mean(0), y.mean(0), traces, B.T @ B if len(x) > len(y) else B @ B.T)


class FrechetTo:
    """Distances of many sets of features to one Gaussian, whose covariance is factorised once.

    With Σ₂ = FFᵀ and centred features X̃ scaled by 1/√(n−1), Σ₁Σ₂ has the eigenvalues of ZᵀZ and of ZZᵀ, Z = X̃F: the
    smaller of the two is taken. Sets that share images share their product with F as well (:meth:`project`).

    Args:
        mean, cov: (d,) and (d, d); cov may be singular.

    Raises:
        MetricInputError: as :func:`frechet_distance`.
    """

    def __init__(self, mean: Array, cov: Array):
        self._mean = _checked("mean", mean, 1)
        c = _covariance("cov", cov, self._mean)
        self._trace = c.trace()
        alive = c.diagonal() > 0
        live = c if alive.all() else c[alive][:, alive]
        factor, failed = torch.linalg.cholesky_ex(live)
        if failed:
            factor = _low_rank_factor("cov", live, int(failed) - 1)
        self._factor = c.new_zeros(len(c), factor.shape[1])
        self._factor[alive] = factor

    def __call__(self, x: Array) -> float:
        """Squared Fréchet distance of features (n, d); as :func:`frechet_distance` of their moments."""
        return self.distance(*self.project(x))

    def project(self, x: Array) -> tuple[Tensor, Tensor]:
        """Features (n, d) → (x − μ₂, (x − μ₂)F), any rows of which :meth:`distance` takes."""
        shifted = _features("x", x) - self._mean
        return shifted, shifted @ self._factor

    def distance(self, shifted: Tensor, projected: Tensor) -> float:
        """Squared Fréchet distance of projected features."""
        traces = _scaled(shifted).square().sum() + self._trace
        z = _scaled(projected)
        gram = z.T @ z if len(z) > z.shape[1] else z @ z.T
        return _distance(shifted.mean(0), torch.zeros_like(self._mean), traces, gram)


def moments(features: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean (d,) and unbiased covariance (d, d) of features (N, d), float64; numpy's ``cov`` with ``rowvar=False``.

    Raises:
        MetricInputError: fewer than two rows, or values that are not finite.
    """
    x = _features("features", features)
    centred = _scaled(x)
    return x.mean(0).numpy(), (centred.T @ centred).numpy()


def _distance(mean1: Tensor, mean2: Tensor, traces: Tensor, gram: Tensor) -> float:
    eigenvalues: Tensor = torch.linalg.eigvalsh(gram)  # reads the lower triangle only
    if len(gram) and eigenvalues[0] < -_RELATIVE_TOLERANCE * traces.square():
        raise MetricInputError("a covariance has an eigenvalue below 0", "cov1 and cov2 are positive semi-definite")
    distance: Tensor = (mean1 - mean2).square().sum() + traces - 2 * eigenvalues.clamp(min=0).sqrt().sum()
    return max(0.0, float(distance))  # rounding may end a hair below


def _gram(name: str, cov1: Tensor, cov2: Tensor) -> Tensor:
    """The lower triangle of FᵀΣ₂F, where FFᵀ = Σ₁."""
    F: Tensor
    F, failed = torch.linalg.cholesky_ex(cov1)
    if failed:
        F = _low_rank_factor(name, cov1, int(failed) - 1)
        gram: Tensor = F.T @ cov2 @ F
        return gram
    gram = torch.zeros_like(cov1)
    for i in range(0, len(F), _BLOCK):  # rows above i of these columns of F are 0: a third of the work
        gram[i:, i : i + _BLOCK] = F[i:, i:].T @ (cov2[i:, i:] @ F[i:, i : i + _BLOCK])
    return gram


def _low_rank_factor(name: str, cov: Tensor, positive: int) -> Tensor:
    """F (d, r) with FFᵀ = Σ, where Cholesky went through the first ``positive`` rows and no further.

    Mostly (fewer images than features) those rows span all of Σ and eliminating them leaves nothing, in a tenth of the
    time that eigenvectors take; they are the way where something is left.
    """
    lower, failed = torch.linalg.cholesky_ex(cov[:positive, :positive])
    below = torch.linalg.solve_triangular(lower, cov[:positive, positive:], upper=False).T
    left = (cov[positive:, positive:] - below @ below.T).abs().max()
    if not failed and left <= 100 * torch.finfo(cov.dtype).eps * cov.trace():
        return torch.cat([lower, below])
    values: Tensor
    vectors: Tensor
    values, vectors = torch.linalg.eigh(cov)
    if values[0] < -_RELATIVE_TOLERANCE * cov.trace():
        raise MetricInputError(f"{name} has the eigenvalue {values[0].item():.3g}", "a covariance has none below 0")
    kept = values > len(cov) * torch.finfo(cov.dtype).eps * values[-1]
    return vectors[:, kept] * values[kept].sqrt()


def _scaled(x: Tensor) -> Tensor:
    """Centred features whose outer product with themselves is the unbiased covariance."""
    return (x - x.mean(0)) / math.sqrt(len(x) - 1)


def _features(name: str, value: Array) -> Tensor:
    x = _checked(name, value, 2)
    if len(x) < 2:
        raise MetricInputError(f"{name} has {len(x)} rows", "a covariance needs two or more")
    return x


def _covariance(name: str, value: Array, mean: Tensor) -> Tensor:
    cov = _checked(name, value, 2)
    if cov.shape != (len(mean), len(mean)):
        raise MetricInputError(f"{name} has shape {tuple(cov.shape)}, its mean has {len(mean)} features")
    if cov.diagonal().min() < 0:
        raise MetricInputError(f"{name} has the variance {cov.diagonal().min().item():.3g}", "a variance is at least 0")
    probe = torch.linspace(1, 2, len(cov), dtype=cov.dtype)  # two products with a vector instead of a transposed copy
    if (cov @ probe - probe @ cov).abs().max() > _RELATIVE_TOLERANCE * cov.trace():
        raise MetricInputError(f"{name} is not symmetric", "a covariance is")
    return cov


def _checked(name: str, value: Array, ndim: int) -> Tensor:
    if isinstance(value, Tensor):
        tensor = value.detach().to("cpu", torch.float64)
    else:
        tensor = torch.from_numpy(np.array(value, dtype=np.float64))
    if tensor.ndim != ndim or not tensor.numel():
        raise MetricInputError(f"{name} has shape {tuple(tensor.shape)}", f"{ndim} dimensions, none of them empty")
    if not tensor.isfinite().all():
        raise MetricInputError(
            f"{name} has values that are not finite", "look at the samples: the model may have diverged"
        )
    return tensor


def distance_to_reference(features: Features) -> FrechetTo:
    """The distance to the held-out images; their moments are computed once."""
    found: FrechetTo = features.once("frechet", lambda: FrechetTo(*moments(features.reference)))
    return found


def _compare(features: Features) -> Row:
    return {"frechet": distance_to_reference(features)(features.samples)}


GROUP = image_group("frechet", ("frechet",), (), _compare)
