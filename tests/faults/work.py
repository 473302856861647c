"""Where the faults are played."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def work_folder() -> Iterator[Path]:
    """In memory where there is such a place: a read is quicker than a disk."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="nllgen-faults-", dir=shm if shm.is_dir() else None) as name:
        yield Path(name)
