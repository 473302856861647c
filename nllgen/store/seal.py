"""The first 512 bytes of a file name the SHA-256 of the rest, so that damage is found before HDF5 sees it.

HDF5 loops for ever or crashes on some damaged files (a flipped bit in its heap of texts is enough), and crashes where
the disk is full while it writes. So it writes to memory, and reads only what has proved whole. In HDF5's words this is
a user block: every program that reads HDF5 skips it.
"""

from __future__ import annotations

import hashlib
import io
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import h5py

from nllgen.errors import CorruptFileError
from nllgen.store.atomic import refuse

SIZE = 512
_MARK = b"nllgen sha256 "


def sealed(fill: Callable[[h5py.File], None]) -> memoryview:
    """The bytes of the HDF5 file that ``fill`` makes, sealed."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=SIZE) as file:
        fill(file)
    content = buffer.getbuffer()
    content[:SIZE] = seal_of(content[SIZE:])
    return content


def seal_of(content: bytes | memoryview) -> bytes:
    """The block that goes before ``content``."""
    return _block(hashlib.sha256(content).hexdigest())


def check_seal(path: Path) -> tuple[int, ...]:
    """Prove a file whole; one that has not changed since is not read again.

    Returns:
        What tells this content of the file from any other: device, inode, size, times.

    Raises:
        CorruptFileError: it is not there, damaged, truncated or something else.
        MachineError: it cannot be read, which says nothing about its content.
    """
    try:
        info = path.stat()
        identity = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        problem = _problem(path, identity) if stat.S_ISREG(info.st_mode) else "is not a file"
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorruptFileError(f"{path}: no such file", "check the path") from error
    except OSError as error:
        refuse("read", path, error)
    if problem:
        raise CorruptFileError(f"{path}: {problem}", "remove it and run the command that made it again")
    return identity


@lru_cache(maxsize=2**16)
def _problem(path: Path, identity: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        block = file.read(SIZE)
        if len(block) < SIZE or not block.startswith(_MARK):
            return "is not an HDF5 file of nllgen"
        digest = hashlib.sha256()
        while part := file.read(2**20):
            digest.update(part)
    return "" if block == _block(digest.hexdigest()) else "is damaged: its content is not what was written"


def _block(digest: str) -> bytes:
    return (_MARK + digest.encode() + b"\n").ljust(SIZE, b"\0")
