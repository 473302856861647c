"""MNIST from its IDX files (LeCun, Cortes & Burges 1998), with the usual split of 50,000 / 10,000 / 10,000 images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor
from torch.nn import functional as F

from nllgen.errors import AssetError, ConfigError, CorruptFileError
from nllgen.study.config import MNIST_HELD_OUT, MNIST_SIZE, MNIST_TRAIN
from nllgen.study.untrusted_files import open_regular
from nllgen.torchvision_ops import import_torchvision

_UNSIGNED_BYTE = 0x08  # the IDX type code that MNIST uses
_MAX_DIMS = 4
_SIZES = (28, 14, 7)
_HINT = "run: nllgen assets fetch mnist"
_MAX_BYTES = 1 << 30  # a damaged header must not make the reader allocate a terabyte


@dataclass(frozen=True)
class Split:
    """Part of a data set.

    Attributes:
        images: (N, 1, H, W) uint8, levels 0…255.
        labels: (N,) int64, digits 0…9.
    """

    images: Tensor
    labels: Tensor

    def first(self, num: int) -> Split:
        """Return the first ``num`` images and labels."""
        return Split(self.images[:num], self.labels[:num])


@dataclass(frozen=True)
class Splits:
    """MNIST's training, validation and test splits."""

    train: Split
    val: Split
    test: Split


def mirrors() -> list[str]:
    """Return the base URLs from which torchvision fetches MNIST.

    Raises:
        MachineError: torchvision cannot be imported.
    """
    return list(import_torchvision().datasets.MNIST.mirrors)


def load_mnist(
    directory: str | Path, image_size: int = MNIST_SIZE, num_val: int = MNIST_HELD_OUT, num_test: int = MNIST_HELD_OUT
) -> Splits:
    """Read MNIST.

    The test split is the test file. Training and validation splits are the first 50,000 and the last 10,000 images of
    the training file. Smaller images are means over blocks, rounded to 8-bit levels.

    Args:
        directory: of the four IDX files (``assets.require_mnist``).
        image_size: 28, 14 or 7.
        num_val, num_test: the number of held-out images, from the first on.

    Raises:
        AssetError: a file is missing.
        CorruptFileError: a file is not the one that its name says.
        ConfigError: MNIST does not have that size or number of images.
    """
    if image_size not in _SIZES:
        raise ConfigError(f"image_size is {image_size}", f"MNIST is available at sizes {_SIZES}")
    for key, num in (("num_val", num_val), ("num_test", num_test)):
        if not 1 <= num <= MNIST_HELD_OUT:
            raise ConfigError(f"{key} is {num}", f"MNIST has {MNIST_HELD_OUT} held-out images: 1…{MNIST_HELD_OUT}")
    directory = Path(directory)
    train_file = _read_split(directory, "train", MNIST_TRAIN + MNIST_HELD_OUT, image_size)
    test = _read_split(directory, "t10k", MNIST_HELD_OUT, image_size)
    val = Split(train_file.images[MNIST_TRAIN:], train_file.labels[MNIST_TRAIN:])
    return Splits(train_file.first(MNIST_TRAIN), val.first(num_val), test.first(num_test))


def shrink(images: Tensor, image_size: int) -> Tensor:
    """Average square blocks of uint8 images (N, 1, S, S) and round to levels, halves to the even one."""
    block = images.shape[-1] // image_size
    # Sums and the division by a power of two are exact in fp32. Splitting limits the memory of the fp32 copy.
    return torch.cat(
        [F.avg_pool2d(part.float(), block).round().to(torch.uint8) for part in torch.split(images, 10_000)]
    )


def read_idx(path: str | Path) -> Tensor:
    """Read an IDX file of unsigned bytes as a uint8 tensor of the shape in its header.

    Raises:
        AssetError: the file does not exist.
        CorruptFileError: the header is not an IDX header, or does not match the length of the file.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            shape = _read_header(file, path)
            data = bytearray(file.read(math.prod(shape) + 1))
    except FileNotFoundError as error:
        raise AssetError(f"{path} is missing", _HINT) from error
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror or error}", _HINT) from error
    if len(data) != math.prod(shape):
        length = "longer than" if len(data) > math.prod(shape) else f"truncated to {len(data)} of"
        raise CorruptFileError(f"{path} is {length} the {math.prod(shape)} bytes that its header declares", _HINT)
    return torch.frombuffer(data, dtype=torch.uint8).reshape(shape)


def _read_header(file: BinaryIO, path: Path) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) != 4 or magic[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or not 1 <= magic[3] <= _MAX_DIMS:
        raise CorruptFileError(
            f"{path} is not an IDX file of unsigned bytes: it begins with {magic.hex() or 'nothing'}", _HINT
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) != 4 * magic[3]:
        raise CorruptFileError(f"{path} is truncated in its header", _HINT)
    shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4))
    if not 0 < math.prod(shape) <= _MAX_BYTES:
        raise CorruptFileError(f"{path} has the impossible shape {shape}", _HINT)
    return shape


def _read_split(directory: Path, name: str, num: int, image_size: int) -> Split:
    labels_path = directory / f"{name}-labels-idx1-ubyte"
    images = _read_shape(directory / f"{name}-images-idx3-ubyte", (num, MNIST_SIZE, MNIST_SIZE))
    labels = _read_shape(labels_path, (num,))
    if labels.max() > 9:
        raise CorruptFileError(f"{labels_path} has the label {labels.max().item()}", _HINT)
    images = images[:, None]
    return Split(images if image_size == MNIST_SIZE else shrink(images, image_size), labels.long())


def _read_shape(path: Path, shape: tuple[int, ...]) -> Tensor:
    array = read_idx(path)
    if array.shape != shape:
        raise CorruptFileError(f"{path} has shape {tuple(array.shape)}, MNIST has {shape}", _HINT)
    return array
