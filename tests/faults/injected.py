"""Errors of the operating system that are raised at the n-th operation below a directory.

Python's audit events come before each open, rename, link, removal and creation of a directory, whoever asks for them: a
hook that raises makes that operation fail. fsync has no event and is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from nllgen.storage.study_dir import _read_frozen

EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.listdir", "os.scandir"}


class FailingDisk:
    """A directory in which the n-th operation fails."""

    def __init__(self) -> None:
        self.directory = ""
        self.count = 0
        self.fail_at = 0
        self.code = errno.EIO
        self.failed = ""

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Count an operation below the directory, and raise where it is the n-th."""
        if self.directory and event in EVENTS and any(self._is_below(argument) for argument in arguments[:2]):
            self.step(f"{event} {arguments[:2]}")

    def step(self, operation: str) -> None:
        self.count += 1
        if self.count == self.fail_at:
            self.failed = operation
            raise OSError(self.code, os.strerror(self.code))

    def _is_below(self, argument: object) -> bool:
        return isinstance(argument, str | bytes | os.PathLike) and os.fsdecode(argument).startswith(self.directory)


_DISK = FailingDisk()
_is_hooked = False


@contextlib.contextmanager
def failing_at(number: int, directory: Path, code: int = errno.EIO) -> Iterator[FailingDisk]:
    """Let the n-th operation below a directory fail in this process; 0 fails none and counts."""
    global _is_hooked
    if not _is_hooked:
        sys.addaudithook(_DISK.hook)
        _is_hooked = True
    fsync = os.fsync

    def failing_fsync(fd: int) -> None:
        _DISK.step("fsync")
        fsync(fd)

    _read_frozen.cache_clear()  # as a new process would
    _DISK.count, _DISK.fail_at, _DISK.code, _DISK.failed = 0, number, code, ""
    _DISK.directory = str(directory)
    try:
        with mock.patch.object(os, "fsync", failing_fsync):
            yield _DISK
    finally:
        _DISK.directory = ""
