"""The first 2,048 bytes of a file name the SHA-256 of the rest, so that damage is found before HDF5 sees it.

HDF5 loops for ever or crashes on some damaged files (a flipped bit in its heap of texts is enough), and crashes where
the disk is full while it writes. So it writes to memory, and reads only what has proved whole. In HDF5's words this is
a user block: every program that reads HDF5 skips it. It also has room for a head, a line of JSON with what is asked
for most: ten thousand results are looked through without opening one of them as HDF5.
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
from typing import Any

import h5py

from nllgen.errors import CorruptFileError
from nllgen.storage.atomic import raise_os_error

SIZE = 2048
_MARK = b"nllgen sha256 "
_DIGEST = slice(len(_MARK), len(_MARK) + 64)
_PART = 2**20


@dataclass(frozen=True)
class Checksum:
    """A file that has proved whole.

    Attributes:
        identity: what tells this content of the file from any other: device, inode, size, times.
        head: what its writer put there, as JSON.
    """

    identity: tuple[int, ...]
    head: str


def with_checksum(fill: Callable[[h5py.File], None], head: Mapping[str, Any] | None = None) -> memoryview:
    """The bytes of the HDF5 file that ``fill`` makes, sealed.

    Args:
        fill: writes the file.
        head: plain values, together not longer than the block has room for.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=SIZE) as file:
        fill(file)
    content = buffer.getbuffer()
    content[:SIZE] = checksum_header(content[SIZE:], json.dumps(head or {}))
    return content


def checksum_header(content: bytes | memoryview, head: str = "{}") -> bytes:
    """The block that goes before ``content``."""
    rest = (b"\n" + head.encode() + b"\n").ljust(SIZE - _DIGEST.stop, b"\0")
    assert len(rest) == SIZE - _DIGEST.stop, "the head is too long"
    digest = hashlib.sha256(rest)
    digest.update(content)
    return _MARK + digest.hexdigest().encode() + rest


def verify_checksum(path: Path) -> Checksum:
    """Prove a file whole; one that has not changed since is not read again.

    Raises:
        CorruptFileError: it is not there, damaged, truncated or something else.
        MachineError: it cannot be read, which says nothing about its content.
    """
    try:
        info = path.stat()
        identity = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        problem, head = _read(path, identity) if stat.S_ISREG(info.st_mode) else ("is not a file", "")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorruptFileError(f"{path}: no such file", "check the path") from error
    except OSError as error:
        raise_os_error("read", path, error)
    if problem:
        raise CorruptFileError(f"{path}: {problem}", "remove it and run the command that made it again")
    return Checksum(identity, head)


@lru_cache(maxsize=2**16)
def _read(path: Path, identity: tuple[int, ...]) -> tuple[str, str]:
    """What is wrong with a file, and its head."""
    with path.open("rb") as file:
        block = file.read(SIZE)
        if len(block) < SIZE or not block.startswith(_MARK):
            return "is not an HDF5 file of nllgen", ""
        digest = hashlib.sha256(block[_DIGEST.stop :])
        while part := file.read(_PART):
            digest.update(part)
    if block[_DIGEST] != digest.hexdigest().encode():
        return "is damaged: its content is not what was written", ""
    return "", block[_DIGEST.stop :].strip(b"\n\0").decode(errors="replace")
