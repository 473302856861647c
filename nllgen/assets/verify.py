"""Verification of assets by their hashes, and MNIST's files. Training reads those through ``nllgen.data``."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from nllgen.assets import files
from nllgen.assets.files import AssetFile
from nllgen.assets.sources import NoAnswerError, read_file
from nllgen.errors import AssetError
from nllgen.study.pretrained import TRUTHS, WEIGHTS_NAME, pretrained_card, pretrained_names


class AssetState(StrEnum):
    """The state of an asset; everything on the disk that is not the expected file is damaged."""

    PRESENT = "present"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class AssetStatus:
    """A file on the disk beside its expected content.

    Attributes:
        path: its place, even where it is missing.
        digest: ``algorithm:hex`` of its content; the expected one where it is missing or cannot be read.
        why: use of the file.
    """

    name: str
    path: Path
    state: AssetState
    digest: str
    why: str

    @property
    def is_present(self) -> bool:
        """Return whether the file is present and undamaged."""
        return self.state is AssetState.PRESENT


def status(assets: Path) -> list[AssetStatus]:
    """Verify every asset that can be fetched."""
    return [verify(assets, file) for file in (*files.MNIST_FILES, files.INCEPTION)]


def pretrained_status() -> list[AssetStatus]:
    """Verify the pretrained truths, which ship with nllgen."""
    statuses = []
    for name in pretrained_names():
        why = f"studies with truth: {{pretrained: {name}}}; ships with nllgen"
        file = AssetFile(name, WEIGHTS_NAME, 64 << 20, "sha256", pretrained_card(name).sha256, why)
        statuses.append(replace(verify(TRUTHS, file), name=f"{name}/{WEIGHTS_NAME}"))
    return statuses


def verify(assets: Path, file: AssetFile) -> AssetStatus:
    """Compare a file below the asset folder with its expected hash."""
    path, digest = file.path(assets), file.digest
    state = AssetState.DAMAGED if os.path.lexists(path) else AssetState.MISSING
    with contextlib.suppress(NoAnswerError):
        digest = file.hash(read_file(path, file.max_bytes))
        state = AssetState.PRESENT if digest.startswith(file.digest) else AssetState.DAMAGED
    return AssetStatus(file.name, path, state, f"{file.algorithm}:{digest}", file.why)


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
    """Read the first ``n`` test images, averaged down to a height and width of 28, 14 or 7.

    Returns:
        Pixels (n, 1, size, size) in [0, 1], float32; None where MNIST is missing.
    """
    import numpy as np

    path = assets / "mnist" / "t10k-images-idx3-ubyte"
    try:
        levels = np.fromfile(path, np.uint8, count=n * 784, offset=16).reshape(n, size, 28 // size, size, 28 // size)
    except (OSError, ValueError):
        return None
    return (levels.mean((2, 4)).round() / 255).astype(np.float32)[:, None]
