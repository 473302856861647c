"""``--from DIR``: files of MNIST from a directory."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.assets import files as asset_files
from nllgen.errors import AssetError, MachineError
from tests.assets.conftest import CLOSED, Server, fetch, states


@pytest.mark.parametrize("packed", [False, True])
def test_from_reads_a_folder(tmp_path: Path, files: dict[str, bytes], packed: bool) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, content in files.items():
        if packed:
            (source / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (source / name).write_bytes(content)
    fetch(tmp_path / "assets", CLOSED, source=source)
    assert states(tmp_path / "assets") == ["present"] * 4


def test_from_passes_over_an_empty_file_beside_its_good_gz(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, content in files.items():
        (source / name).touch()
        (source / f"{name}.gz").write_bytes(gzip.compress(content))
    fetch(tmp_path / "assets", source=source)
    assert states(tmp_path / "assets") == ["present"] * 4


@pytest.mark.parametrize("rename", [str, lambda name: name.replace("-idx", ".idx")], ids=["hyphen", "dot"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_from_takes_a_file_by_its_content(
    tmp_path: Path,
    files: dict[str, bytes],
    rename: Callable[[str], str],
    suffix: str,
    pack: Callable[[bytes], bytes],
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, content in files.items():
        (source / f"{rename(name)}{suffix}").write_bytes(pack(content))
    folder = fetch(tmp_path / "assets", source=source)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        ({}, "it has no train-images-idx3-ubyte, plain or .gz"),
        ({"train-images.idx3-ubyte": b""}, "train-images.idx3-ubyte is empty"),
        ({"train-images-idx3-ubyte.gz": b"<html>"}, "train-images-idx3-ubyte.gz is not the right file: its md5 is"),
        ({"train-images-idx3-ubyte.gz": gzip.compress(b"x" * 100)[:-12]}, "ubyte.gz: the .gz is truncated"),
        ({"train-images-idx3-ubyte": bytes(10**6)}, "train-images-idx3-ubyte: longer than the expected"),
        (
            {"train-images-idx3-ubyte": b"", "train-images.idx3-ubyte": b"other"},
            "train-images-idx3-ubyte is empty; train-images.idx3-ubyte is not the right file",
        ),
    ],
    ids=["none", "empty", "html", "truncated", "huge", "two"],
)
def test_error_of_from_names_the_file(
    tmp_path: Path, files: dict[str, bytes], contents: dict[str, bytes], reason: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, content in contents.items():
        (source / name).write_bytes(content)
    with pytest.raises(AssetError) as caught:
        fetch(tmp_path / "assets", source=source)
    assert reason in str(caught.value)
    assert not (tmp_path / "assets").exists()


def test_from_asks_nobody_else(tmp_path: Path, server: Server) -> None:
    with pytest.raises(AssetError, match="No such file or directory"):
        fetch(tmp_path, server.url, source=tmp_path / "nowhere")
    assert server.asked == []


def test_from_does_not_read_a_pipe(tmp_path: Path, files: dict[str, bytes]) -> None:
    os.mkfifo(tmp_path / asset_files.IMAGE_FILES["mnist"][0].name)
    with pytest.raises(AssetError, match="not a regular file"):
        fetch(tmp_path / "assets", source=tmp_path)


def test_file_in_place_of_the_folder_is_an_environment_error(tmp_path: Path, server: Server) -> None:
    (tmp_path / "mnist").write_text("in the way")
    with pytest.raises(MachineError, match="cannot create the folder"):
        fetch(tmp_path, server.url)
