"""A directory for tests that inject faults."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def work_directory() -> Iterator[Path]:
    """Make a temporary directory, in memory where the machine has /dev/shm: it is faster than a disk."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="nllgen-faults-", dir=shm if shm.is_dir() else None) as name:
        yield Path(name)
