"""A web server on this machine and small files in the place of published ones."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nllgen import assets
from nllgen.assets import files as asset_files

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
    return [str(file.state) for file in assets.status(folder)[0].files]
