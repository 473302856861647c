"""Published sets of images from their IDX files: MNIST (LeCun, Cortes & Burges 1998) and the sets of its form."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor
from torch.nn import functional as F

from nllgen.errors import AssetError, ConfigError, CorruptFileError, reading
from nllgen.study.config import HELD_OUT
from nllgen.study.image_sets import IMAGE_SETS, SIDE, SIZES, IdxFile, ImageSet
from nllgen.study.untrusted_files import gunzip, open_regular
from nllgen.torchvision_ops import import_torchvision

_UNSIGNED_BYTE = 0x08  # the IDX type code of all of them
_MAX_DIMS = 4
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_BYTES = 1 << 30  # a damaged header must not make the reader allocate a terabyte


@dataclass(frozen=True)
class Split:
    """Part of a data set.

    Attributes:
        images: (N, 1, H, W) uint8, levels 0…255.
        labels: (N,) int64, classes 0…9.
    """

    images: Tensor
    labels: Tensor

    def first(self, num: int) -> Split:
        """Return the first ``num`` images and labels."""
        return Split(self.images[:num], self.labels[:num])


@dataclass(frozen=True)
class Splits:
    """The training, validation and test splits of a set."""

    train: Split
    val: Split
    test: Split


def mirrors(name: str = "mnist") -> list[str]:
    """Return the URLs from which torchvision fetches a set: of directories, or of its archive.

    Raises:
        MachineError: torchvision cannot be imported.
    """
    images = IMAGE_SETS[name]
    published = getattr(import_torchvision().datasets, images.torchvision)
    return [str(published.url)] if images.archive else list(published.mirrors)


def load_published(
    directory: str | Path,
    image_size: int = SIDE,
    num_val: int = HELD_OUT,
    num_test: int = HELD_OUT,
    *,
    name: str = "mnist",
) -> Splits:
    """Read a published set.

    The test split is the test file. The validation split is the end of the training file, as many images as the test
    file has, and training has the rest. Smaller images are means over blocks, rounded to 8-bit levels.

    Args:
        directory: of the four IDX files (``assets.require_images``).
        image_size: 28, 14 or 7.
        num_val, num_test: the number of held-out images, from the first on.
        name: of the set, in ``image_sets.IMAGE_SETS``.

    Raises:
        AssetError: a file is missing.
        CorruptFileError: a file is not the one that its name says.
        ConfigError: the set does not have that size or number of images.
    """
    images = IMAGE_SETS[name]
    if image_size not in SIZES:
        raise ConfigError(f"image_size is {image_size}", f"{images.title} is available at sizes {SIZES}")
    for key, num in (("num_val", num_val), ("num_test", num_test)):
        if not 1 <= num <= images.num_held_out:
            allowed = f"{images.title} has {images.num_held_out} held-out images: 1…{images.num_held_out}"
            raise ConfigError(f"{key} is {num}", allowed)
    train_file = _read_split(Path(directory), images, 0, image_size)
    test = _read_split(Path(directory), images, 2, image_size)
    val = Split(train_file.images[images.num_train :], train_file.labels[images.num_train :])
    return Splits(train_file.first(images.num_train), val.first(num_val), test.first(num_test))


def shrink(images: Tensor, image_size: int) -> Tensor:
    """Average square blocks of uint8 images (N, 1, S, S) and round to levels, halves to the even one."""
    block = images.shape[-1] // image_size
    # Sums and the division by a power of two are exact in fp32. Splitting limits the memory of the fp32 copy.
    return torch.cat(
        [F.avg_pool2d(part.float(), block).round().to(torch.uint8) for part in torch.split(images, 10_000)]
    )


def read_idx(path: str | Path, hint: str = "run: nllgen assets fetch mnist") -> Tensor:
    """Read an IDX file of unsigned bytes, plain or packed by gzip, as a uint8 tensor of the shape in its header.

    Raises:
        AssetError: the file does not exist; ``hint`` says what to do.
        CorruptFileError: the header is not an IDX header, or does not match the length of the file.
        MachineError: it cannot be read now.
    """
    path = Path(path)
    try:
        with reading(path):
            if path.exists() and not path.is_file():
                raise CorruptFileError(f"{path} is not a regular file", hint)
            with open_regular(path) as file:
                content = _unpacked(file)
                shape = _read_header(content, path, hint)
                data = bytearray(content.read(math.prod(shape) + 1))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AssetError(f"{path} is missing", hint) from error
    except ValueError as error:
        raise CorruptFileError(f"{path}: {error}", hint) from error
    if len(data) != math.prod(shape):
        length = "longer than" if len(data) > math.prod(shape) else f"truncated to {len(data)} of"
        raise CorruptFileError(f"{path} is {length} the {math.prod(shape)} bytes that its header declares", hint)
    return torch.frombuffer(data, dtype=torch.uint8).reshape(shape)


def _unpacked(file: BinaryIO) -> BinaryIO:
    """Return a file from its beginning, unpacked in memory if gzip packed it.

    Raises:
        ValueError: the .gz is damaged.
    """
    is_packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    file.seek(0)
    return io.BytesIO(gunzip(file.read(_MAX_BYTES), _MAX_BYTES)) if is_packed else file


def _read_header(file: BinaryIO, path: Path, hint: str) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) != 4 or magic[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or not 1 <= magic[3] <= _MAX_DIMS:
        raise CorruptFileError(
            f"{path} is not an IDX file of unsigned bytes: it begins with {magic.hex() or 'nothing'}", hint
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) != 4 * magic[3]:
        raise CorruptFileError(f"{path} is truncated in its header", hint)
    shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4))
    if not 0 < math.prod(shape) <= _MAX_BYTES:
        raise CorruptFileError(f"{path} has the impossible shape {shape}", hint)
    return shape


def _read_split(directory: Path, images: ImageSet, first: int, image_size: int) -> Split:
    """Read the images and labels of the files from ``first`` on."""
    of_images, of_labels = images.files[first : first + 2]
    levels, labels = _read_file(directory, of_images, images), _read_file(directory, of_labels, images)
    if labels.max() > 9:
        raise CorruptFileError(f"{directory / of_labels.name} has the label {labels.max().item()}", _hint(images))
    if images.is_transposed:
        levels = levels.transpose(1, 2).contiguous()
    levels = levels[:, None]
    return Split(levels if image_size == SIDE else shrink(levels, image_size), labels.long())


def _read_file(directory: Path, file: IdxFile, images: ImageSet) -> Tensor:
    path = directory / file.name
    array = read_idx(path, _hint(images))
    if array.shape != file.shape:
        raise CorruptFileError(f"{path} has shape {tuple(array.shape)}, {images.title} has {file.shape}", _hint(images))
    return array


def _hint(images: ImageSet) -> str:
    return f"run: nllgen assets fetch {images.name}"
