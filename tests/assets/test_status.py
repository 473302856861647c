"""What is there, Inception's weights and the truths that ship."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from nllgen import assets
from nllgen.assets import files as asset_files
from nllgen.assets import verify
from nllgen.errors import AssetError
from tests.assets.conftest import Server, fetch, silent


def test_missing_mnist_is_an_error_with_a_hint(tmp_path: Path, server: Server) -> None:
    (fetch(tmp_path, server.url) / asset_files.IMAGE_FILES["mnist"][1].name).unlink()
    with pytest.raises(AssetError, match=r"train-labels-idx1-ubyte is missing(?s:.)*nllgen assets fetch mnist"):
        assets.require_images(tmp_path, "mnist")


def test_status_names_every_asset_and_what_needs_it(tmp_path: Path) -> None:
    listed = assets.status(tmp_path)
    files = [file.path for asset in listed for file in asset.files]
    known = [*chain(*asset_files.IMAGE_FILES.values()), asset_files.INCEPTION]
    assert files == [file.path(tmp_path) for file in known]
    assert all(asset.state_text == "missing" and asset.use for asset in listed)


def test_the_state_of_a_set_counts_its_files_where_they_differ(tmp_path: Path, server: Server) -> None:
    (fetch(tmp_path, server.url) / asset_files.IMAGE_FILES["mnist"][1].name).unlink()
    assert assets.status(tmp_path)[0].state_text == "3 present, 1 missing"


def test_status_shows_the_hash_of_what_is_there(tmp_path: Path, server: Server, files: dict[str, bytes]) -> None:
    fetch(tmp_path, server.url)
    first = assets.status(tmp_path)[0].files[0]
    assert first.digest == f"md5:{hashlib.md5(files[first.name]).hexdigest()}"


@pytest.fixture
def inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    weights = tmp_path / "any name.pth"
    weights.write_bytes(b"weights")
    known = replace(asset_files.INCEPTION, digest=hashlib.sha256(b"weights").hexdigest()[:8])
    monkeypatch.setattr(asset_files, "INCEPTION", known)
    return weights


def test_inception_comes_from_a_file(tmp_path: Path, inception: Path) -> None:
    fetched = assets.fetch_inception(tmp_path / "assets", source=inception, url=None, echo=silent)
    assert fetched.read_bytes() == b"weights"
    assert fetched == assets.inception_weights(tmp_path / "assets")


def test_inception_comes_from_its_url(tmp_path: Path, inception: Path, server: Server) -> None:
    server.answers["weights.pth"] = b"weights"
    fetched = assets.fetch_inception(tmp_path, source=None, url=f"{server.url}weights.pth", echo=silent)
    assert fetched.read_bytes() == b"weights"


@pytest.mark.parametrize(("names_length", "last"), [(True, [(7, 7)]), (False, [])])
def test_a_download_shows_how_much_has_arrived_if_the_server_names_its_length(
    tmp_path: Path, inception: Path, server: Server, names_length: bool, last: list[tuple[int, int]]
) -> None:
    server.answers["weights.pth"], server.names_length = b"weights", names_length
    calls: list[tuple[int, int]] = []
    assets.fetch_inception(
        tmp_path, source=None, url=f"{server.url}weights.pth", echo=silent,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    assert calls[-1:] == last


def test_inception_with_another_hash_is_refused(tmp_path: Path, inception: Path) -> None:
    inception.write_bytes(b"other weights")
    with pytest.raises(AssetError, match="not the right file"):
        assets.fetch_inception(tmp_path / "assets", source=inception, url=None, echo=silent)


def test_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NLLGEN_ASSETS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert assets.asset_folder() == Path("/data/nllgen")
    monkeypatch.setenv("NLLGEN_ASSETS", "/assets")
    assert assets.asset_folder() == Path("/assets")


def test_assets_need_no_torch() -> None:
    code = "import sys, nllgen.assets; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pretrained_truths_are_listed_and_present() -> None:
    listed = assets.pretrained_status()
    assert [(asset.name, asset.state_text) for asset in listed] == [
        ("known-mnist", "present"),
        ("known-mnist-14", "present"),
    ]


def test_damaged_pretrained_truth_is_listed_as_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "known-mnist").mkdir()
    (tmp_path / "known-mnist" / "truth.pt").write_bytes(b"damaged")
    monkeypatch.setattr(verify, "TRUTHS", tmp_path)
    assert [asset.state_text for asset in assets.pretrained_status()] == ["damaged", "missing"]
