"""The files that can be fetched: names, sizes, hashes, and their place on this machine."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

from nllgen.study.image_sets import IMAGE_SETS, IdxFile, ImageSet
from nllgen.study.user_directories import expand_home, plain_path, user_directory

INCEPTION_NAME = "pt_inception-2015-12-05-6726825d.pth"


@dataclass(frozen=True)
class AssetFile:
    """The expected content of a file.

    Attributes:
        directory: below the asset folder.
        max_bytes: size at which reading stops.
        digest: hexadecimal; may be shortened to its first digits. Empty where none is known.
        shape: of the array in an IDX file, by which it is known where it has no digest.
    """

    directory: str
    name: str
    max_bytes: int
    algorithm: Literal["md5", "sha256"]
    digest: str
    shape: tuple[int, ...] = ()

    def path(self, assets: Path) -> Path:
        """Return its path below the asset folder."""
        return assets / self.directory / self.name

    @property
    def stays_packed(self) -> bool:
        """Return whether the file itself is a .gz."""
        return self.name.endswith(".gz")

    def hash(self, data: bytes) -> str:
        """Return the whole hexadecimal digest of ``data``."""
        return hashlib.new(self.algorithm, data, usedforsecurity=False).hexdigest()

    def fault(self, data: bytes) -> str:
        """Return why ``data`` is not the content of this file; empty if it is."""
        if not data:
            return "is empty"
        if self.digest:
            digest = self.hash(data)[: len(self.digest)]
            is_wrong = f"is not the right file: its {self.algorithm} is {digest}, not {self.digest}"
            return is_wrong if digest != self.digest else ""
        if not data.startswith(idx_header(self.shape)) or len(data) != len(idx_header(self.shape)) + prod(self.shape):
            return f"is not the right file: no IDX file of {'×'.join(map(str, self.shape))} bytes"
        return ""


def idx_header(shape: tuple[int, ...]) -> bytes:
    """Return the first bytes of an IDX file of unsigned bytes (LeCun, Cortes & Burges 1998)."""
    return bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)


def _asset(images: ImageSet, file: IdxFile) -> AssetFile:
    size = len(idx_header(file.shape)) + prod(file.shape)
    return AssetFile(images.name, file.name, size, "md5", file.md5, file.shape)


IMAGE_FILES = {name: tuple(_asset(images, file) for file in images.files) for name, images in IMAGE_SETS.items()}
INCEPTION = AssetFile(
    directory="inception",
    name=INCEPTION_NAME,
    max_bytes=128 << 20,  # the file has about 96 MB
    algorithm="sha256",
    digest="6726825d",  # torch.hub's convention: the file name ends in the first digits of its SHA-256
)


def asset_folder() -> Path:
    """Return ``$NLLGEN_ASSETS``, else ``nllgen`` in ``$XDG_DATA_HOME``, which defaults to ``~/.local/share``."""
    if chosen := os.environ.get("NLLGEN_ASSETS"):
        return plain_path(expand_home(chosen))
    return user_directory("DATA")


def inception_weights(assets: Path) -> Path:
    """Return the path of Inception's weights, which may be missing."""
    return INCEPTION.path(assets)
