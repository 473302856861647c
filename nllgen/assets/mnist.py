"""MNIST's files below the asset folder. Training reads them through ``nllgen.data``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nllgen.assets import files
from nllgen.assets.verify import verify
from nllgen.errors import AssetError


def has_mnist(assets: Path) -> bool:
    """Return whether all four IDX files are present and undamaged."""
    return all(verify(assets, file).is_present for file in files.MNIST_FILES)


def require_mnist(assets: Path) -> Path:
    """Verify the four IDX files and return their folder.

    Raises:
        AssetError: a file is missing or damaged.
    """
    checked = [verify(assets, file) for file in files.MNIST_FILES]
    if bad := ", ".join(f"{file.name} is {file.state}" for file in checked if not file.is_present):
        raise AssetError(f"MNIST is not complete in {assets / 'mnist'}: {bad}", "run: nllgen assets fetch mnist")
    return assets / "mnist"


def mnist_pictures(assets: Path, n: int, size: int) -> Any:
    """Read the first test images, for pictures beside results; return None where MNIST is missing.

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
