"""The Fréchet distance beside pytorch-fid's, in one run: ``python -m benchmarks.frechet``."""

from __future__ import annotations

import time
import warnings

import numpy as np
import numpy.typing as npt

from benchmarks.steps import median_seconds
from nllgen.metrics.frechet import frechet_distance, moments
from nllgen.torchvision_ops import import_torchvision

Moments = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def features(num: int, dim: int, seed: int, shift: float, dead: int) -> Moments:
    """Moments of correlated, rectified features, like those of Inception's pooling; the last ``dead`` are always 0."""
    generator = np.random.default_rng(seed)
    mixing = np.eye(dim) + 0.3 * np.random.default_rng(7).standard_normal((dim, dim)) / dim**0.5
    x = np.maximum(generator.standard_normal((num, dim)) @ mixing + shift, 0)
    x[:, dim - dead :] = 0
    return moments(x)


def compare(one: Moments, two: Moments) -> tuple[float, float, float]:
    """Seconds of nllgen (median of 3), seconds of pytorch-fid, and the relative difference of their answers."""
    from pytorch_fid.fid_score import calculate_frechet_distance

    our_s = median_seconds(lambda: frechet_distance(*one, *two), rounds=3)
    started = time.perf_counter()
    theirs = float(calculate_frechet_distance(*one, *two))
    their_s = time.perf_counter() - started
    return our_s, their_s, abs(frechet_distance(*one, *two) - theirs) / theirs


def rows(dim: int = 2048, num: int = 10_000) -> list[tuple[str, str, str]]:
    """(what, measured, reached for)."""
    import_torchvision()
    found = []
    cases = ((num, 0, "", "≥ 10×, 1e-6"), (num, dim // 16, f", {dim // 16} dead", ""), (dim // 2, 0, ", singular", ""))
    with warnings.catch_warnings():
        # pytorch-fid passes sqrtm an argument that scipy deprecates, and sqrtm complains about singular products
        warnings.simplefilter("ignore")
        for images, dead, note, goal in cases:
            our_s, their_s, difference = compare(
                features(images, dim, 0, 0.3, dead), features(images, dim, 1, 0.4, dead)
            )
            measured = (
                f"{their_s / our_s:.1f}× pytorch-fid ({our_s:.2f} s against {their_s:.1f} s), differs {difference:.0e}"
            )
            found.append((f"Fréchet distance, d = {dim}, N = {images:,}{note}", measured, goal))
    return found


if __name__ == "__main__":
    for row in rows():
        print(*row, sep="  ")
