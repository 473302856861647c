"""MNIST's images for pictures beside results, without torch. Training reads MNIST through ``nllgen.data``."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def mnist_pictures(assets: Path, n: int, size: int) -> Any:
    """Read the first test images; return None where MNIST is missing.

    Args:
        assets: the asset folder.
        n: number of images.
        size: height and width that they are averaged down to: 28, 14 or 7.

    Returns:
        Pixels (n, 1, size, size) in [0, 1], float32.
    """
    import numpy as np

    path = assets / "mnist" / "t10k-images-idx3-ubyte"
    try:
        levels = np.fromfile(path, np.uint8, count=n * 784, offset=16).reshape(n, size, 28 // size, size, 28 // size)
    except (OSError, ValueError):
        return None
    return (levels.mean((2, 4)).round() / 255).astype(np.float32)[:, None]
