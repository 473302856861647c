"""Text files of a study folder, read without believing them: regular files only, no more than is sensible, no controls.

A FIFO would be waited for and a device read for ever; a folder that was received may hold either.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO

RECORD_BYTES = 64 << 20  # attempts, submissions: a line of a few hundred bytes each
STUDY_BYTES = 512 << 20  # a manifest of 100,000 cells has a fifth of it
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


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
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"has more than {max_bytes:,} bytes", str(path))
    return content


def parse_untrusted_json(text: str | bytes) -> Any:
    """Return the values of a JSON text, every text among them made harmless.

    Raises:
        ValueError, RecursionError: it is no JSON, or nested too deeply.
    """
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    value = json.loads(text)
    # most have none, and are not gone through
    return _without_controls(value) if "\\u00" in text or _CONTROLS.search(text) else value


def _without_controls(value: Any) -> Any:
    if isinstance(value, str):
        return escape_controls(value)
    if isinstance(value, list):
        return [_without_controls(item) for item in value]
    if isinstance(value, dict):
        return {escape_controls(key): _without_controls(item) for key, item in value.items()}
    return value


def escape_controls(text: str) -> str:
    """Return a text whose control characters a terminal shows instead of obeying; a log may hold anything."""
    return _CONTROLS.sub(lambda match: _picture(ord(match[0])), text.replace("\r\n", "\n").replace("\r", "\n"))


def _picture(code: int) -> str:
    if code == 0x7F:
        return "␡"
    return chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}"
