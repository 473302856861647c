"""Files that others may have made: only regular files are opened, and no more is read than is sensible.

A FIFO would be waited for and a device read for ever; a folder that was received may hold either.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from pathlib import Path
from typing import BinaryIO

RECORD_BYTES = 64 << 20  # attempts, submissions: a line of a few hundred bytes each


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read; a link is followed to what it names, and that is looked at before anything is read.

    Raises:
        OSError: it cannot be read, or is not a regular file (EINVAL).
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO that nobody writes opens at once
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return os.fdopen(fd, "rb")
    os.close(fd)
    raise OSError(errno.EINVAL, "is not a regular file", str(path))


def read_regular(path: Path, max_bytes: int = RECORD_BYTES) -> bytes:
    """Return a regular file's content.

    Raises:
        OSError: as :func:`open_regular`, or it has more than ``max_bytes`` (EFBIG).
    """
    with open_regular(path) as file:
        content = file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)  # which Python allocates at once
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"has more than {max_bytes:,} bytes", str(path))
    return content


def gunzip(packed: bytes, max_bytes: int) -> bytes:
    """Unpack the bytes of a .gz file, and no more than is sensible.

    Raises:
        ValueError: they are damaged or truncated, or unpack to more than ``max_bytes``.
    """
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # | 16: with gzip's header and checksum
    try:
        content = unpacker.decompress(packed, max_bytes + 1)
    except zlib.error as error:
        raise ValueError(f"the .gz is damaged: {error}") from error
    if len(content) > max_bytes:
        raise ValueError(f"unpacks to more than the expected {max_bytes} bytes")
    if not unpacker.eof:
        raise ValueError("the .gz is truncated")
    return content
