"""Verification of assets by their hashes, and files of images. Training reads those through ``nllgen.data``."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from pathlib import Path
from typing import Any

from nllgen.assets import files
from nllgen.assets.files import AssetFile
from nllgen.assets.sources import NoAnswerError, read_file
from nllgen.errors import AssetError
from nllgen.study.image_sets import IMAGE_SETS, SIDE
from nllgen.study.pretrained import TRUTHS, WEIGHTS_NAME, pretrained_card, pretrained_names
from nllgen.study.untrusted_files import gunzip


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
        digest: ``algorithm:hex`` of its content; the expected one, if any, where it is missing or cannot be read.
    """

    name: str
    path: Path
    state: AssetState
    digest: str

    @property
    def is_present(self) -> bool:
        """Return whether the file is present and undamaged."""
        return self.state is AssetState.PRESENT


@dataclass(frozen=True)
class Asset:
    """Files that are used together: a set of images, weights, or a truth.

    Attributes:
        name: as ``nllgen assets fetch`` has it, and that of its directory.
        use: what needs it.
    """

    name: str
    use: str
    files: tuple[AssetStatus, ...]

    @property
    def is_missing(self) -> bool:
        """Return True if no file of it is there."""
        return all(file.state is AssetState.MISSING for file in self.files)

    @property
    def state_text(self) -> str:
        """Return the state of its files for people: ``present``, or for example ``3 present, 1 missing``."""
        counts = Counter(file.state for file in self.files)
        return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{num} {state}" for state, num in counts.items())


def status(assets: Path) -> list[Asset]:
    """Verify every asset that can be fetched."""
    sets = [
        Asset(images.name, f"training and measuring on {images.title}", _verified(assets, files.IMAGE_FILES[name]))
        for name, images in IMAGE_SETS.items()
    ]
    weights = _verified(assets, [files.INCEPTION])
    return [*sets, Asset(files.INCEPTION.directory, "frechet_inception, the published FID", weights)]


def pretrained_status() -> list[Asset]:
    """Verify the pretrained truths, which ship with nllgen."""
    assets = []
    for name in pretrained_names():
        file = AssetFile(name, WEIGHTS_NAME, 64 << 20, "sha256", pretrained_card(name).sha256)
        assets.append(Asset(name, f"truth: {{pretrained: {name}}}; ships with nllgen", _verified(TRUTHS, [file])))
    return assets


def _verified(assets: Path, wanted: Iterable[AssetFile]) -> tuple[AssetStatus, ...]:
    return tuple(verify(assets, file) for file in wanted)


def verify(assets: Path, file: AssetFile) -> AssetStatus:
    """Compare a file below the asset folder with its expected hash."""
    path, digest = file.path(assets), file.digest
    state = AssetState.DAMAGED if os.path.lexists(path) else AssetState.MISSING
    with contextlib.suppress(NoAnswerError):
        data = read_file(path, file.max_bytes)
        digest = file.hash(data)
        state = AssetState.DAMAGED if file.fault(data) else AssetState.PRESENT
    return AssetStatus(file.name, path, state, f"{file.algorithm}:{digest or 'not published'}")


def has_images(assets: Path, name: str) -> bool:
    """Return whether all four IDX files of a published set are present and undamaged."""
    return all(file.is_present for file in _verified(assets, files.IMAGE_FILES[name]))


def require_images(assets: Path, name: str) -> Path:
    """Verify the four IDX files of a published set and return their folder.

    Raises:
        AssetError: a file is missing or damaged.
    """
    checked = _verified(assets, files.IMAGE_FILES[name])
    if bad := ", ".join(f"{file.name} is {file.state}" for file in checked if not file.is_present):
        text = f"{IMAGE_SETS[name].title} is not complete in {assets / name}: {bad}"
        raise AssetError(text, f"run: nllgen assets fetch {name}")
    return assets / name


def first_pictures(assets: Path, name: str, n: int, size: int) -> Any:
    """Read the first ``n`` test images of a published set, averaged down to a height and width of 28, 14 or 7.

    Returns:
        Pixels (n, 1, size, size) in [0, 1], float32; None where the set is missing.
    """
    import numpy as np

    images = IMAGE_SETS[name]
    file = files.IMAGE_FILES[name][2]
    block, start = SIDE // size, len(files.idx_header(file.shape))
    try:
        content = read_file(file.path(assets), file.max_bytes)
        content = gunzip(content, start + prod(file.shape)) if file.stays_packed else content
        levels = np.frombuffer(content, np.uint8, count=n * SIDE**2, offset=start).reshape(n, SIDE, SIDE)
    except (NoAnswerError, ValueError):
        return None
    levels = levels.transpose(0, 2, 1) if images.is_transposed else levels
    means = levels.reshape(n, size, block, size, block).mean((2, 4)).round()
    return (means / 255).astype(np.float32)[:, None]
