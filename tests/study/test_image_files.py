"""Files of one's own images: read by content, bounded, and refused in words."""

from __future__ import annotations

import errno
import io
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nllgen.errors import ConfigError, MachineError
from nllgen.study import image_files
from nllgen.study.image_files import Images, first_test_pictures, npz_bytes, read_images


def pictures(num: int = 12, side: int = 8, channels: int = 3) -> Any:
    return np.random.default_rng(0).integers(0, 256, (num, side, side, channels), np.uint8)


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def write_pictures(directory: Path, images: Any, name: Callable[[int], str] = "{:03}.png".format) -> Path:
    directory.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image.squeeze()).save(directory / name(i))
    return directory


def npy_header(declared: str) -> bytes:
    text = declared.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def write_member(path: Path, content: bytes, name: str = "images.npy") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


@pytest.mark.parametrize("channels", [1, 3])
def test_a_directory_and_an_npz_file_of_the_same_images_have_one_digest(tmp_path: Path, channels: int) -> None:
    images = pictures(channels=channels)
    packed = write_npz(tmp_path / "a.npz", images=images)
    directory = write_pictures(tmp_path / "photos", images)
    assert read_images(packed).sha256 == read_images(directory).sha256
    assert read_images(packed).shape == (channels, 8, 8)


def test_the_digest_does_not_depend_on_names_order_times_and_packing(tmp_path: Path) -> None:
    images = pictures()
    first = read_images(write_pictures(tmp_path / "first", images))
    renamed = write_pictures(tmp_path / "renamed", images[::-1], "x{}.PNG".format)
    for path in renamed.iterdir():
        os.utime(path, (0, 0))
    (renamed / "notes.txt").write_text("not a picture")
    np.savez_compressed(tmp_path / "packed.npz", images=np.asfortranarray(images))
    others = [read_images(path) for path in (renamed, tmp_path / "packed.npz")]
    assert {other.sha256 for other in others} == {first.sha256}
    assert all(np.array_equal(other.images, first.images) for other in others)


def test_the_digest_depends_on_every_pixel_and_on_the_split(tmp_path: Path) -> None:
    images = pictures()
    changed = images.copy()
    changed[3, 2, 1, 0] ^= 1
    contents = ({"images": images}, {"images": changed}, {"images": images[:8], "test_images": images[8:]})
    digests = {read_images(write_npz(tmp_path / f"{i}.npz", **each)).sha256 for i, each in enumerate(contents)}
    assert len(digests) == 3


def test_a_copy_of_the_content_is_the_same_images(tmp_path: Path) -> None:
    original = read_images(write_npz(tmp_path / "a.npz", images=pictures(), test_images=pictures(4)))
    (tmp_path / "copy.npz").write_bytes(npz_bytes(original))
    copy = read_images(tmp_path / "copy.npz")
    assert copy.sha256 == original.sha256
    assert np.array_equal(copy.images, original.images)
    assert np.array_equal(copy.test, original.test)


def test_grey_images_need_no_axis_of_channels(tmp_path: Path) -> None:
    images = pictures(channels=1)
    flat, deep = (
        write_npz(tmp_path / "flat.npz", images=images[..., 0]),
        write_npz(tmp_path / "deep.npz", images=images),
    )
    assert read_images(flat).sha256 == read_images(deep).sha256


def own(num: int, num_test: int) -> Images:
    return Images(pictures(num), pictures(num_test), "")


def test_held_out_images_are_the_last() -> None:
    images = own(12, 0)
    splits = images.splits(7, 3, 2)
    assert [len(part) for part in splits.values()] == [7, 3, 2]
    assert np.array_equal(np.concatenate([*splits.values()]), images.images)
    assert images.num_left(3, 2) == 7


def test_test_images_of_their_own_are_the_test_split() -> None:
    images = own(12, 5)
    splits = images.splits(9, 3, 4)
    assert np.array_equal(splits["test"], images.test[:4])
    assert np.array_equal(np.concatenate([splits["train"], splits["val"]]), images.images)
    assert (images.num_left(3, 4), images.num_left(3, 6)) == (9, -1)


def test_pictures_of_a_report_are_the_first_test_images(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", images=pictures(12))
    test = read_images(path).splits(0, 0, 5)["test"]
    shown = first_test_pictures(path, 3, 5)
    assert shown.shape == (3, 3, 8, 8)
    assert np.allclose(shown, test[:3].transpose(0, 3, 1, 2) / 255)
    assert first_test_pictures(tmp_path / "none.npz", 3, 5) is None


class Harmful:
    """An object whose unpickling would write a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "unpickled"))


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([Harmful(tmp_path / "harm")], dtype=object))
    with pytest.raises(ConfigError, match="images holds pickled objects, which are not read"):
        read_images(tmp_path / "a.npz")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x": pictures()}, "has no array images; it has x"),
        ({"images": pictures() / 255}, "images is of float64, not of uint8"),
        ({"images": pictures().astype(np.int64)}, "images is of int64, not of uint8"),
        ({"images": pictures(side=10)}, "images is 10×10: sides must be divisible by 4; allowed: 4, 8, … 512"),
        ({"images": pictures(1, side=516)}, "images is 516×516: sides must"),
        ({"images": pictures(channels=4)}, "images is 12×8×8×4, not N×H×W or N×H×W×C with C = 1 or 3"),
        ({"images": pictures()[0, 0]}, "images is 8×3, not N×H×W"),
        ({"images": pictures(0)}, "images has 0 bytes"),
        ({"images": pictures(), "test_images": pictures(side=4)}, "images are 8×8×3, test_images 4×4×3"),
    ],
    ids=["name", "float", "int", "side", "large", "channels", "axes", "none", "test"],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], reason: str) -> None:
    path = write_npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(ConfigError) as caught:
        read_images(path)
    assert reason in str(caught.value)
    assert "an .npz file with uint8 images" in str(caught.value)


def test_an_array_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    header = npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (500, 28, 28), }")
    with pytest.raises(ConfigError, match="has not the 392,000 bytes that it declares"):
        read_images(write_member(tmp_path / "a.npz", header + bytes(784)))


def test_an_array_that_unpacks_to_too_much_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (900000000, 28, 28), }")
    with pytest.raises(ConfigError, match="705,600,000,000 bytes; 1…2,147,483,648 are read"):
        read_images(write_member(tmp_path / "a.npz", header + bytes(10**6)))
    monkeypatch.setattr(image_files, "MAX_BYTES", 10_000)
    with pytest.raises(ConfigError, match="are read"):
        read_images(write_npz(tmp_path / "b.npz", images=pictures(100)))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 damaged", b"neither", os.urandom(1000)])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"an \.npz file with uint8 images"):
        read_images(tmp_path / "a.npz")


def test_damage_inside_an_array_is_noticed(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", images=pictures())
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="Bad CRC-32"):
        read_images(path)


def test_a_missing_file_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_images(tmp_path / "none.npz")
    with pytest.raises(ConfigError, match="is not a regular file"):
        read_images(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["images.npz", "pictures/1.png"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_images_that_cannot_be_read_now_are_not_called_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    """A cell that meets them fails for the machine, and is tried again."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    write_npz(tmp_path / "images.npz", images=pictures())
    path.touch()

    def fails(*_: object) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("nllgen.study.image_files.open_regular", fails)
    monkeypatch.setattr("nllgen.study.image_directory.read_regular", fails)
    with pytest.raises(MachineError, match=os.strerror(code)):
        read_images(path if path.suffix == ".npz" else path.parent)


def test_a_pipe_among_pictures_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(ConfigError, match=r"1\.png: is not a regular file"):
        read_images(tmp_path)


def saved(mode: str, side: int = 8, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (side, side)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (saved("RGBA"), "b.png: has the mode RGBA; allowed: L (grey) and RGB"),
        (saved("P"), "b.png: has the mode P;"),
        (saved("1"), "b.png: has the mode 1;"),
        (saved("I;16"), "b.png: has the mode I;16;"),
        (saved("CMYK", kind="JPEG"), "b.png: has the mode CMYK;"),
        (saved("RGB", 12), "b.png is 12×12 in colour, a.png is 8×8 in colour: all must be alike"),
        (saved("L"), "b.png is 8×8 in grey, a.png is 8×8 in colour"),
        (saved("RGB", 10), "b.png: it is 10×10: sides must be divisible by 4"),
        (saved("RGB", kind="GIF"), "b.png: cannot identify image file it"),
        (saved("RGB", 64)[:-60], "b.png: "),
        (b"", "b.png: "),
    ],
    ids=["rgba", "palette", "bits", "deep", "cmyk", "size", "grey", "side", "gif", "truncated", "empty"],
)
def test_other_pictures_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(saved("RGB"))
    (tmp_path / "b.png").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_images(tmp_path)
    assert reason in str(caught.value)


def test_a_picture_of_billions_of_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    content = bytearray(saved("L"))
    content[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the header of a PNG
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ConfigError, match="decompression bomb"):
        read_images(tmp_path)


def test_a_directory_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    with pytest.raises(ConfigError, match="has no PNG or JPEG file; pictures in directories below it are not read"):
        read_images(tmp_path)
