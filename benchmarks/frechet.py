"""The Fréchet distance beside pytorch-fid's, in one run: ``python -m benchmarks.frechet``."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

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


def timed(work: Callable[[], float]) -> tuple[float, float]:
    started = time.perf_counter()
    value = work()
    return value, time.perf_counter() - started


def compare(name: str, one: Moments, two: Moments) -> None:
    from pytorch_fid.fid_score import calculate_frechet_distance

    ours, our_s = timed(lambda: frechet_distance(*one, *two))
    theirs, their_s = timed(lambda: float(calculate_frechet_distance(*one, *two)))
    difference = abs(ours - theirs) / theirs
    print(f"{name:<26} {our_s:>7.2f} s {their_s:>10.2f} s {their_s / our_s:>6.1f}× {difference:>20.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--num", type=int, default=10_000)
    arguments = parser.parse_args()
    dim, num = arguments.dim, arguments.num
    import_torchvision()
    # pytorch-fid passes sqrtm an argument that scipy 1.17 deprecates, and sqrtm complains about singular products.
    warnings.simplefilter("ignore")
    print(f"d = {dim}, {torch.get_num_threads()} threads")
    print(f"{'covariances':<26} {'nllgen':>9} {'pytorch-fid':>12} {'ratio':>7} {'relative difference':>20}")
    for name, images, dead in (
        ("warm-up, d = 64", 1000, 0),
        (f"N = {num}", num, 0),
        (f"N = {num}, {dim // 16} dead", num, dim // 16),
        (f"N = {dim // 2}, singular", dim // 2, 0),
    ):
        size = 64 if name.startswith("warm-up") else dim
        compare(name, features(images, size, 0, 0.3, dead), features(images, size, 1, 0.4, dead))


if __name__ == "__main__":
    main()
