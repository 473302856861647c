"""Sets that are published in an archive, or known by their packed files."""

from __future__ import annotations

import gzip
import hashlib
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from nllgen import assets
from nllgen.assets import files as asset_files
from nllgen.errors import AssetError
from nllgen.study.image_sets import IMAGE_SETS
from tests.assets.conftest import Server, silent


@pytest.fixture
def emnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Put small files in the place of EMNIST's, which are known by their shapes, and in an archive of known hash."""
    images = IMAGE_SETS["emnist-digits"]
    assert images.archive is not None
    shapes = ((6, 28, 28), (6,), (2, 28, 28), (2,))
    small = tuple(
        replace(file, max_bytes=len(asset_files.idx_header(shape)) + prod(shape), shape=shape)
        for file, shape in zip(asset_files.IMAGE_FILES["emnist-digits"], shapes, strict=True)
    )
    monkeypatch.setitem(asset_files.IMAGE_FILES, "emnist-digits", small)
    contents = {file.name: asset_files.idx_header(file.shape) + bytes(prod(file.shape)) for file in small}
    with zipfile.ZipFile(tmp_path / "gzip.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"gzip/{name}.gz", gzip.compress(content))
    known = replace(images.archive, md5=hashlib.md5((tmp_path / "gzip.zip").read_bytes()).hexdigest())
    monkeypatch.setitem(IMAGE_SETS, "emnist-digits", replace(images, archive=known))
    return contents


def fetch_emnist(folder: Path, *mirrors: str, source: Path | None = None) -> Path:
    return assets.fetch_images(folder, "emnist-digits", source=source, mirrors=mirrors, echo=silent)


def test_a_set_in_an_archive_comes_from_a_directory_with_it(tmp_path: Path, emnist: dict[str, bytes]) -> None:
    folder = fetch_emnist(tmp_path / "assets", source=tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == emnist
    assert assets.require_images(tmp_path / "assets", "emnist-digits") == folder


def test_a_set_in_an_archive_comes_from_its_url(tmp_path: Path, emnist: dict[str, bytes], server: Server) -> None:
    server.answers["gzip.zip"] = (tmp_path / "gzip.zip").read_bytes()
    folder = fetch_emnist(tmp_path / "assets", f"{server.url}gzip.zip")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == emnist
    assert server.asked == ["gzip.zip"]


def test_another_archive_is_refused(tmp_path: Path, emnist: dict[str, bytes]) -> None:
    (tmp_path / "gzip.zip").write_bytes(b"another")
    with pytest.raises(AssetError, match=r"gzip\.zip is not the right file: its md5 is"):
        fetch_emnist(tmp_path / "assets", source=tmp_path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_a_file_without_a_published_hash_is_known_by_its_shape(
    tmp_path: Path, emnist: dict[str, bytes], pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "gzip.zip").unlink()
    for name, content in emnist.items():
        (tmp_path / f"{name}.gz").write_bytes(pack(content))
    fetch_emnist(tmp_path / "assets", source=tmp_path)
    assert assets.has_images(tmp_path / "assets", "emnist-digits")
    (tmp_path / "assets" / "emnist-digits" / next(iter(emnist))).write_bytes(b"short")
    assert not assets.has_images(tmp_path / "assets", "emnist-digits")


def test_a_set_that_is_known_packed_stays_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {file.name: gzip.compress(os.urandom(50)) for file in asset_files.IMAGE_FILES["kmnist"]}
    known = [replace(f, digest=f.hash(contents[f.name])) for f in asset_files.IMAGE_FILES["kmnist"]]
    monkeypatch.setitem(asset_files.IMAGE_FILES, "kmnist", tuple(known))
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    folder = assets.fetch_images(tmp_path / "assets", "kmnist", source=tmp_path, mirrors=(), echo=silent)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents


def test_the_unpacked_files_of_a_set_that_is_known_packed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"unpacked")
    with pytest.raises(AssetError, match="is not the right file") as caught:
        assets.fetch_images(tmp_path / "assets", "kmnist", source=tmp_path, mirrors=(), echo=silent)
    assert "packed as .gz" in str(caught.value)


def test_pictures_are_the_first_test_images(tmp_path: Path, emnist: dict[str, bytes]) -> None:
    fetch_emnist(tmp_path / "assets", source=tmp_path)
    pictures = assets.first_pictures(tmp_path / "assets", "emnist-digits", 2, 14)
    assert pictures.shape == (2, 1, 14, 14)
    assert assets.first_pictures(tmp_path / "assets", "kmnist", 2, 14) is None
