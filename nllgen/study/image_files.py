"""Images of one's own, from an .npz file or a directory of pictures, as arrays of known content.

The files are others' and stay data: sizes are bounded before anything is allocated, and pickles are refused. The
content has one SHA-256, whatever the names, the order, the times and the packing of files. The images are put in the
order of their own SHA-256, which shuffles them the same way everywhere, so that held-out ones are taken from the end.
"""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nllgen.errors import ConfigError, MachineError, reading
from nllgen.study.image_directory import MAX_BYTES, check_sides, read_directory
from nllgen.study.npz import NPZ_DAMAGED, read_npy_header
from nllgen.study.untrusted_files import open_regular

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Levels = npt.NDArray[np.uint8]

NAMES = ("images", "test_images")  # arrays of an .npz file; the second is optional
_FORM = "an .npz file with uint8 images, N×H×W or N×H×W×C with C = 1 or 3, or a directory of PNG or JPEG files"


@dataclass(frozen=True)
class Images:
    """Images of one's own.

    Attributes:
        images: (N, H, W, C) uint8 levels, in the order of their SHA-256.
        test: test images of their own (T, H, W, C), likewise; none where they are taken from ``images``.
        sha256: of the content of both.
    """

    images: Levels
    test: Levels
    sha256: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of an image, (C, H, W)."""
        _, height, width, channels = self.images.shape
        return (channels, height, width)

    def num_left(self, num_val: int, num_test: int) -> int:
        """Return the number of images that held-out ones leave for training; negative where there are too few."""
        if not len(self.test):
            return len(self.images) - num_val - num_test
        return len(self.images) - num_val if num_test <= len(self.test) else len(self.test) - num_test

    def splits(self, num_train: int, num_val: int, num_test: int) -> dict[str, Levels]:
        """Return training images from the beginning, validation images from the end, and test images.

        Test images are the first of ``test``, or where there is none the last of ``images``.
        """
        end = len(self.images) if len(self.test) else len(self.images) - num_test
        test = self.test[:num_test] if len(self.test) else self.images[end:]
        return {"train": self.images[:num_train], "val": self.images[end - num_val : end], "test": test}


def read_images(path: Path) -> Images:
    """Read an .npz file or a directory of pictures.

    Raises:
        ConfigError: it does not exist, or is not :data:`_FORM`; the message says what is wrong.
        MachineError: it cannot be read now, or not with this memory.
    """
    try:
        with reading(path):
            if path.is_dir():
                return _in_order(read_directory(path), None)
            info = path.stat()
            if not stat.S_ISREG(info.st_mode):
                raise ValueError("is not a regular file")
            return _read_npz(path, (info.st_ino, info.st_size, info.st_mtime_ns))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}", _FORM) from error
    except NPZ_DAMAGED as error:
        text = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"{path}: {text}", _FORM) from error


@lru_cache(maxsize=1)  # a submission reads it twice: for the plan, and to copy it
def _read_npz(path: Path, _identity: tuple[int, ...]) -> Images:
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if NAMES[0] not in members:
            there = ", ".join(sorted(members)[:10]) or "nothing"
            raise ValueError(f"has no array {NAMES[0]}; it has {there}")
        arrays = [_read_array(archive, members[name], name) for name in NAMES if name in members]
    images, test = (*arrays, None)[:2]
    assert images is not None
    if test is not None and test.shape[1:] != images.shape[1:]:
        raise ValueError(f"images are {_text(images.shape[1:])}, test_images {_text(test.shape[1:])}")
    return _in_order(images, test)


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Levels:
    """Read an array (N, H, W, C), and no more than its header declares."""
    import numpy as np

    with archive.open(info) as member:
        shape, in_columns, dtype, start = read_npy_header(member)
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled objects, which are not read")
    if dtype != np.uint8:
        raise ValueError(f"{name} is of {dtype}, not of uint8: levels 0…255; write (255 * x).round().astype('uint8')")
    _check_shape(shape, name)
    with archive.open(info) as member:
        member.read(start)
        content = member.read(prod(shape) + 1)
    if len(content) != prod(shape):
        raise ValueError(f"{name} has not the {prod(shape):,} bytes that it declares")
    array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if in_columns else "C")
    return np.ascontiguousarray(array if array.ndim == 4 else array[..., None])


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    """Check the shape of an array before it is read.

    Raises:
        ValueError: it is no shape of images, or they are too many.
    """
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise ValueError(f"{name} is {_text(shape)}, not N×H×W or N×H×W×C with C = 1 or 3")
    check_sides(shape[1], shape[2], name)
    if not 1 <= shape[0] * prod(shape[1:]) <= MAX_BYTES:
        raise ValueError(f"{name} has {prod(shape):,} bytes; 1…{MAX_BYTES:,} are read")


def _in_order(images: Levels, test: Levels | None) -> Images:
    """Sort images by their SHA-256, and compute that of all."""
    test = images[:0] if test is None else test
    digest = hashlib.sha256(f"nllgen images 1: {len(images)} + {len(test)} of {images.shape[1:]}\n".encode())
    parts = []
    for part in (images, test):
        hashes = [hashlib.sha256(image.tobytes()).digest() for image in part]
        order = sorted(range(len(part)), key=hashes.__getitem__)
        digest.update(b"".join(hashes[i] for i in order))
        parts.append(part[order])
    return Images(parts[0], parts[1], digest.hexdigest())


def npz_bytes(images: Images) -> bytes:
    """Return the content of an .npz file with these images."""
    import numpy as np

    arrays: dict[str, Any] = dict(zip(NAMES, (images.images, images.test)[: 1 + bool(len(images.test))], strict=False))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def first_test_pictures(path: Path, n: int, num_test: int) -> Any:
    """Read the first ``n`` test images of a file.

    Returns:
        Pixels (n, C, H, W) in [0, 1], float32; None where the file cannot be read.
    """
    try:
        test = read_images(path).splits(0, 0, num_test)["test"][:n]
    except (ConfigError, MachineError):
        return None
    return (test.transpose(0, 3, 1, 2) / 255).astype("float32")


def _text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
