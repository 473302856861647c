"""MNIST from its IDX files (LeCun, Cortes & Burges 1998), split as everybody splits it: 50,000 / 10,000 / 10,000."""

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
from nllgen.torchvision_ops import import_torchvision

_UNSIGNED_BYTE = 0x08  # the IDX format's code of the only type MNIST has
_MAX_DIMS = 4
_SIZES = (28, 14, 7)
_WAY_OUT = "run: nllgen assets fetch mnist"
_MAX_BYTES = 1 << 30  # a wrong header must not make the reader ask for a terabyte


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
        """The first ``num`` of it."""
        return Split(self.images[:num], self.labels[:num])


@dataclass(frozen=True)
class Splits:
    """What is trained on, what chooses the best weights, and what is reported."""

    train: Split
    val: Split
    test: Split


def mirrors() -> list[str]:
    """Base URLs that torchvision fetches MNIST from.

    Raises:
        MachineError: torchvision cannot be imported.
    """
    return list(import_torchvision().datasets.MNIST.mirrors)


def load_mnist(
    folder: Path, image_size: int = MNIST_SIZE, num_val: int = MNIST_HELD_OUT, num_test: int = MNIST_HELD_OUT
) -> Splits:
    """Read MNIST.

    The test split is the test file; training and validation are the first 50,000 and the last 10,000 of the training
    file.
    Smaller images are means over blocks, rounded, so that they are 8-bit data of 256 levels as well.

    Args:
        folder: of the four IDX files (``assets.require_mnist``).
        image_size: 28, 14 or 7.
        num_val, num_test: how many of the held-out images, from the first on.

    Raises:
        AssetError: a file is missing.
        CorruptFileError: a file is not what its name says.
        ConfigError: a size or number that MNIST does not have.
    """
    if image_size not in _SIZES:
        raise ConfigError(f"image_size is {image_size}", f"MNIST is averaged down to one of {_SIZES}")
    for key, num in (("num_val", num_val), ("num_test", num_test)):
        if not 1 <= num <= MNIST_HELD_OUT:
            raise ConfigError(f"{key} is {num}", f"MNIST has {MNIST_HELD_OUT} held-out images: 1…{MNIST_HELD_OUT}")
    both = _read_split(folder, "train", MNIST_TRAIN + MNIST_HELD_OUT, image_size)
    test = _read_split(folder, "t10k", MNIST_HELD_OUT, image_size)
    val = Split(both.images[MNIST_TRAIN:], both.labels[MNIST_TRAIN:])
    return Splits(both.first(MNIST_TRAIN), val.first(num_val), test.first(num_test))


def shrink(images: Tensor, image_size: int) -> Tensor:
    """Means over square blocks, rounded to the nearest level, halves to the even one.

    Args:
        images: (N, 1, S, S) uint8.
        image_size: a divisor of S.

    Returns:
        (N, 1, image_size, image_size) uint8.
    """
    block = images.shape[-1] // image_size
    # The sums and the division by a power of two are exact in fp32; chunks keep the copy small.
    return torch.cat(
        [F.avg_pool2d(part.float(), block).round().to(torch.uint8) for part in torch.split(images, 10_000)]
    )


def read_idx(path: Path) -> Tensor:
    """Read an IDX file of unsigned bytes.

    Returns:
        uint8 of the shape in the header.

    Raises:
        AssetError: there is no such file.
        CorruptFileError: the header is not IDX's, or promises another length than the file has.
    """
    try:
        with path.open("rb") as file:
            shape = _read_header(file, path)
            data = bytearray(file.read(math.prod(shape) + 1))
    except FileNotFoundError as error:
        raise AssetError(f"{path} is missing", _WAY_OUT) from error
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror or error}", _WAY_OUT) from error
    if len(data) != math.prod(shape):
        length = "longer than" if len(data) > math.prod(shape) else f"cut off at {len(data)} of"
        raise CorruptFileError(f"{path} is {length} the {math.prod(shape)} bytes that its header promises", _WAY_OUT)
    return torch.frombuffer(data, dtype=torch.uint8).reshape(shape)


def _read_header(file: BinaryIO, path: Path) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) != 4 or magic[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or not 1 <= magic[3] <= _MAX_DIMS:
        raise CorruptFileError(
            f"{path} is no IDX file of unsigned bytes: it begins with {magic.hex() or 'nothing'}", _WAY_OUT
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) != 4 * magic[3]:
        raise CorruptFileError(f"{path} is cut off in its header", _WAY_OUT)
    shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4))
    if not 0 < math.prod(shape) <= _MAX_BYTES:
        raise CorruptFileError(f"{path} has the impossible shape {shape}", _WAY_OUT)
    return shape


def _read_split(folder: Path, name: str, num: int, image_size: int) -> Split:
    images = _expect(folder / f"{name}-images-idx3-ubyte", (num, MNIST_SIZE, MNIST_SIZE))
    labels = _expect(folder / f"{name}-labels-idx1-ubyte", (num,))
    if labels.max() > 9:
        raise CorruptFileError(f"{folder / f'{name}-labels-idx1-ubyte'} has the label {labels.max().item()}", _WAY_OUT)
    images = images[:, None]
    return Split(images if image_size == MNIST_SIZE else shrink(images, image_size), labels.long())


def _expect(path: Path, shape: tuple[int, ...]) -> Tensor:
    found = read_idx(path)
    if found.shape != shape:
        raise CorruptFileError(f"{path} has shape {tuple(found.shape)}, MNIST has {shape}", _WAY_OUT)
    return found
