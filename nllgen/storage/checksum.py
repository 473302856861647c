"""Checksums: the first 2,048 bytes of a file name the SHA-256 of the rest, so that damage is found before HDF5 sees it.

HDF5 loops for ever or crashes on some damaged files (a flipped bit in its heap of texts is enough), and crashes where
the disk is full while it writes. Files are therefore written to memory first, and read only after their checksum has
proved them whole. The first 2,048 bytes are a user block, which every program that reads HDF5 skips. The block also has
space for a header: a line of JSON with the values that a plan needs, so that HDF5 need not open ten thousand files.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nllgen.errors import MADE_ANEW, CorruptFileError
from nllgen.storage.atomic import identity_of, raise_os_error
from nllgen.study.untrusted_files import open_regular, read_regular

if TYPE_CHECKING:
    import h5py

SIZE = 2048
_MARK = b"nllgen sha256 "
_DIGEST = slice(len(_MARK), len(_MARK) + 64)
_PART = 2**20
MAX_BYTES = 2**36  # a study of 10,000 cells with images of 28×28 has a tenth of it
_NOT_OURS = "is not an HDF5 file of nllgen"


@dataclass(frozen=True)
class Checksum:
    """A file that has proved whole.

    Attributes:
        identity: tells this content of the file from any other: device, inode, size, times.
        head: the header that its writer put there, as JSON.
        sha256: the checksum itself, 64 hexadecimal digits.
    """

    identity: tuple[int, ...]
    head: str
    sha256: str


def with_checksum(fill: Callable[[h5py.File], None], head: Mapping[str, Any] | None = None) -> memoryview:
    """Return the bytes of an HDF5 file with its checksum.

    Args:
        fill: writes the file.
        head: plain values of the header, which has less than 2,000 bytes.
    """
    import h5py  # the states of ten thousand results are judged without it

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=SIZE) as file:
        fill(file)
    content = buffer.getbuffer()
    content[:SIZE] = checksum_header(content[SIZE:], json.dumps(head or {}))
    return content


def checksum_header(content: bytes | memoryview, head: str = "{}") -> bytes:
    """Return the 2,048 bytes that stand before ``content``."""
    rest = (b"\n" + head.encode() + b"\n").ljust(SIZE - _DIGEST.stop, b"\0")
    assert len(rest) == SIZE - _DIGEST.stop, "the header is too long"
    digest = hashlib.sha256(rest)
    digest.update(content)
    return _MARK + digest.hexdigest().encode() + rest


def verify_checksum(path: Path, max_bytes: int = MAX_BYTES) -> Checksum:
    """Prove a file whole; one that has not changed since is not read again.

    A file of more than ``max_bytes`` is none of nllgen's.

    Raises:
        CorruptFileError: it is not there, damaged, truncated or something else.
        MachineError: it cannot be read now, which says nothing about its content.
    """
    try:
        info = path.stat()
        identity = identity_of(info)
        if not stat.S_ISREG(info.st_mode):
            raise CorruptFileError(f"{path}: is not a file", MADE_ANEW)
        is_ours = info.st_size <= max_bytes  # a sparse file has any size
        problem, head, digest = _verify_file(path, identity) if is_ours else (_NOT_OURS, "", "")
    except OSError as error:
        _raise_unreadable(path, error)
    if problem:
        raise CorruptFileError(f"{path}: {problem}", MADE_ANEW)
    return Checksum(identity, head, digest)


def read_verified(path: Path) -> bytes:
    """Return the content of a file that proves whole: what is parsed is what was verified.

    Raises:
        CorruptFileError, MachineError: as :func:`verify_checksum`.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CorruptFileError(f"{path}: is not a file", MADE_ANEW)
        content = read_regular(path, MAX_BYTES)
    except OSError as error:
        _raise_unreadable(path, error)
    if problem := _problem(content[:SIZE], hashlib.sha256(memoryview(content)[_DIGEST.stop :]).hexdigest()):
        raise CorruptFileError(f"{path}: {problem}", MADE_ANEW)
    return content


def _raise_unreadable(path: Path, error: OSError) -> NoReturn:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        raise CorruptFileError(f"{path}: no such file", "check the path") from error
    raise_os_error("read", path, error)


@lru_cache(maxsize=2**16)
def _verify_file(path: Path, identity: tuple[int, ...]) -> tuple[str, str, str]:
    """Return what is wrong with a file (empty where nothing is), its header, and its checksum."""
    with open_regular(path) as file:
        part = file.read(_PART)
        block = part[:SIZE]
        if not block.startswith(_MARK):
            return _NOT_OURS, "", ""
        digest = hashlib.sha256(memoryview(part)[_DIGEST.stop :])
        while len(part) == _PART and (part := file.read(_PART)):  # a shorter part is the last
            digest.update(part)
    sha256 = digest.hexdigest()
    problem = _problem(block, sha256)
    head = b"" if problem else block[_DIGEST.stop + 1 :].partition(b"\n")[0]
    return problem, head.decode(errors="replace"), sha256


def _problem(block: bytes, sha256: str) -> str:
    if len(block) < SIZE or not block.startswith(_MARK):
        return _NOT_OURS
    return "" if block[_DIGEST] == sha256.encode() else "is damaged: its content is not what was written"
