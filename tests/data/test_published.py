from __future__ import annotations

import errno
import gzip
import os
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nllgen import assets
from nllgen.data.published import Splits, load_published, mirrors, read_idx, shrink
from nllgen.errors import AssetError, ConfigError, CorruptFileError, MachineError
from nllgen.study.image_sets import IMAGE_SETS, PUBLISHED
from nllgen.torchvision_ops import import_torchvision


def idx(*shape: int, data: bytes | None = None, magic: bytes = b"\0\0\x08") -> bytes:
    body = bytes(torch.Size(shape).numel()) if data is None else data
    return magic + bytes([len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + body


@pytest.fixture(scope="module")
def real(mnist_assets: Path) -> Splits:
    return load_published(assets.require_images(mnist_assets, "mnist"))


def test_splits_are_50k_10k_10k(real: Splits) -> None:
    assert [len(s.images) for s in (real.train, real.val, real.test)] == [50_000, 10_000, 10_000]


def test_images_are_one_channel_of_bytes(real: Splits) -> None:
    assert real.train.images.shape[1:] == (1, 28, 28)
    assert real.train.images.dtype == torch.uint8


def test_training_begins_with_the_training_file(real: Splits) -> None:
    assert real.train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]


def test_validation_is_the_end_of_the_training_file(real: Splits, mnist_assets: Path) -> None:
    everything = read_idx(assets.require_images(mnist_assets, "mnist") / "train-images-idx3-ubyte")
    assert torch.equal(real.val.images[:, 0], everything[-10_000:])


def test_test_split_is_the_test_file(real: Splits) -> None:
    assert real.test.labels[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]


def test_all_levels_occur(real: Splits) -> None:
    assert len(real.train.images.unique()) == 256  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("size", [14, 7])
def test_smaller_images_keep_the_mean(real: Splits, mnist_assets: Path, size: int) -> None:
    small = load_published(mnist_assets / "mnist", size, num_val=10, num_test=10)
    assert small.train.images.shape == (50_000, 1, size, size)
    assert small.train.images.double().mean().item() == pytest.approx(
        real.train.images.double().mean().item(), abs=0.02
    )


def test_fewer_held_out_images_are_the_first(real: Splits, mnist_assets: Path) -> None:
    few = load_published(mnist_assets / "mnist", 28, num_val=3, num_test=2)
    assert torch.equal(few.val.images, real.val.images[:3])
    assert torch.equal(few.test.labels, real.test.labels[:2])


def test_shrink_rounds_to_the_nearest_level() -> None:
    block = torch.tensor([[[[1, 2], [2, 2]]], [[[0, 0], [0, 1]]]], dtype=torch.uint8)
    assert shrink(block, 1).flatten().tolist() == [2, 0]


@given(hnp.arrays("uint8", (3, 1, 28, 28)), st.sampled_from([14, 7]))
def test_shrink_is_within_half_a_level_of_the_block_mean(images: npt.NDArray[np.uint8], size: int) -> None:
    block = 28 // size
    exact = images.reshape(3, 1, size, block, size, block).mean((3, 5))
    assert abs(shrink(torch.from_numpy(images), size).numpy() - exact).max() <= 0.5


@pytest.mark.parametrize("size", [0, 8, 29])
def test_another_size_is_refused(mnist_assets: Path, size: int) -> None:
    with pytest.raises(ConfigError, match=f"image_size is {size}"):
        load_published(mnist_assets / "mnist", size)


@pytest.mark.parametrize("num", [0, 10_001])
def test_more_held_out_images_than_there_are_is_refused(mnist_assets: Path, num: int) -> None:
    with pytest.raises(ConfigError, match=f"num_val is {num}"):
        load_published(mnist_assets / "mnist", 28, num_val=num)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\x1f\x8b\x08\x00 packed", "the .gz is truncated"),
        (idx(3, magic=b"\0\0\x0d"), "not an IDX file"),
        (idx(2, 2)[:7], "truncated in its header"),
        (idx(0, 28), "impossible shape"),
        (idx(2**32 - 1, 2**32 - 1, data=b""), "impossible shape"),
        (idx(2, 3)[:-1], "truncated to 5 of the 6 bytes"),
        (idx(2, 3) + b"x", "longer than the 6 bytes"),
    ],
    ids=["empty", "short", "gz", "float", "header", "none", "terabytes", "truncated", "long"],
)
def test_corrupt_file_is_a_typed_error(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=reason):
        read_idx(path)


def test_a_packed_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(gzip.compress(idx(2, 3, data=bytes(range(6)))))
    assert read_idx(tmp_path / "images").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a directory with small files of every published set, whose table says so."""
    for name, images in IMAGE_SETS.items():
        (tmp_path / name).mkdir()
        sizes = (30, 30, 10, 10)
        a, b, c, d = (replace(f, shape=(n, *f.shape[1:])) for f, n in zip(images.files, sizes, strict=True))
        files = (a, b, c, d)
        for file in files:
            size = torch.Size(file.shape).numel()
            content = idx(*file.shape, data=bytes(i % 10 if i % 28 else 7 for i in range(size)))
            (tmp_path / name / file.name).write_bytes(gzip.compress(content) if file.is_packed else content)
        monkeypatch.setitem(IMAGE_SETS, name, replace(images, files=files))
    return tmp_path


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_every_set_has_splits_by_the_size_of_its_test_file(small_sets: Path, name: str) -> None:
    splits = load_published(small_sets / name, 14, 10, 4, name=name)
    assert [len(s.images) for s in (splits.train, splits.val, splits.test)] == [20, 10, 4]
    assert splits.test.images.shape == (4, 1, 14, 14)


def test_images_of_emnist_are_turned_upright(small_sets: Path) -> None:
    """The files hold the columns of an image as rows."""
    stored = read_idx(small_sets / "emnist-digits" / "emnist-digits-test-images-idx3-ubyte")
    upright = load_published(small_sets / "emnist-digits", num_val=1, num_test=10, name="emnist-digits").test.images
    assert torch.equal(upright[:, 0], stored.transpose(1, 2))


def test_missing_file_of_another_set_suggests_its_command(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="nllgen assets fetch kmnist"):
        load_published(tmp_path, name="kmnist")


def test_missing_file_suggests_the_command(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="nllgen assets fetch mnist"):
        load_published(tmp_path)


def test_directory_in_place_of_a_file_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="is not a regular file"):
        read_idx(tmp_path)


def test_file_of_another_shape_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(5, 28, 28))
    with pytest.raises(CorruptFileError, match=r"has shape \(5, 28, 28\)"):
        load_published(tmp_path)


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_mirrors_are_torchvisions(name: str) -> None:
    assert mirrors(name)
    assert all(url.startswith("http") for url in mirrors(name))


@pytest.mark.parametrize("name", ["kmnist", "emnist-digits"])
def test_hashes_of_packed_files_are_torchvisions(name: str) -> None:
    images = IMAGE_SETS[name]
    published = getattr(import_torchvision().datasets, images.torchvision)
    if images.archive:
        assert published.md5 == images.archive.md5
    else:
        assert [(file.name, file.md5) for file in images.files] == list(published.resources)


def test_the_table_has_the_sets_that_studies_can_name() -> None:
    assert tuple(IMAGE_SETS) == PUBLISHED


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_file_that_cannot_be_read_now_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fails(_: Path) -> BinaryIO:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("nllgen.data.published.open_regular", fails)
    with pytest.raises(MachineError, match=os.strerror(code)):
        read_idx(tmp_path / "train-images-idx3-ubyte")
