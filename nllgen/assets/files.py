"""The files that can be fetched: names, sizes, hashes, and their place on this machine."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nllgen.study.user_directories import expand_home, plain_path, user_directory

INCEPTION_NAME = "pt_inception-2015-12-05-6726825d.pth"


@dataclass(frozen=True)
class AssetFile:
    """The expected content of a file.

    Attributes:
        directory: below the asset folder.
        max_bytes: size at which reading stops.
        digest: hexadecimal; may be shortened to its first digits.
        why: use of the file.
    """

    directory: str
    name: str
    max_bytes: int
    algorithm: Literal["md5", "sha256"]
    digest: str
    why: str

    def path(self, assets: Path) -> Path:
        """Return its path below the asset folder."""
        return assets / self.directory / self.name

    def hash(self, data: bytes) -> str:
        """Return the whole hexadecimal digest of ``data``."""
        return hashlib.new(self.algorithm, data, usedforsecurity=False).hexdigest()


def _idx(name: str, size: int, md5: str) -> AssetFile:
    why = "training and measuring on real MNIST, a truth's training too; a run on synthetic data needs only the truth"
    return AssetFile("mnist", name, size, "md5", md5, why)


MNIST_FILES = (
    _idx("train-images-idx3-ubyte", 47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
    _idx("train-labels-idx1-ubyte", 60_008, "a25bea736e30d166cdddb491f175f624"),
    _idx("t10k-images-idx3-ubyte", 7_840_016, "2646ac647ad5339dbf082846283269ea"),
    _idx("t10k-labels-idx1-ubyte", 10_008, "27ae3e4e09519cfbb04c329615203637"),
)
INCEPTION = AssetFile(
    directory="inception",
    name=INCEPTION_NAME,
    max_bytes=128 << 20,  # the file has about 96 MB
    algorithm="sha256",
    digest="6726825d",  # torch.hub's convention: the file name ends in the first digits of its SHA-256
    why="frechet_inception, the published FID; without it the column is NaN and everything else runs",
)


def asset_folder() -> Path:
    """Return ``$NLLGEN_ASSETS``, else ``nllgen`` in ``$XDG_DATA_HOME``, which defaults to ``~/.local/share``."""
    if chosen := os.environ.get("NLLGEN_ASSETS"):
        return plain_path(expand_home(chosen))
    return user_directory("DATA")


def inception_weights(assets: Path) -> Path:
    """Return the path of Inception's weights, which may be missing."""
    return INCEPTION.path(assets)
