"""Tests of a file system in an empty directory: whether results can be published on it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from nllgen.errors import MachineError
from nllgen.storage.atomic import raise_os_error
from nllgen.storage.ownership import OTHERS_MAY_WRITE


def create_exclusively(path: Path) -> int:
    """Create a file that does not exist yet; return its descriptor."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)


def try_exclusive(directory: Path) -> None:
    """Create one file twice; the second creation must fail."""
    path = directory / "exclusive"
    os.close(create_exclusively(path))
    try:
        os.close(create_exclusively(path))
    except FileExistsError:
        return
    raise RuntimeError("a file could be created exclusively twice")


def try_links(directory: Path) -> None:
    """Link a file; a link must not replace an existing file."""
    part, target = directory / "part", directory / "target"
    part.write_bytes(b"complete")
    os.link(part, target)
    try:
        os.link(part, target)
    except FileExistsError:
        if target.read_bytes() == b"complete" and target.stat().st_nlink == 2:
            return
        raise RuntimeError("a linked file is not what it was linked to") from None
    raise RuntimeError("a link replaced a file that was there")


def try_rename(directory: Path) -> None:
    """Replace a file by renaming another."""
    new, old = directory / "new", directory / "old"
    new.write_bytes(b"new")
    old.write_bytes(b"old")
    new.replace(old)
    if old.read_bytes() != b"new" or new.exists():
        raise RuntimeError("a renamed file did not replace the other")


def try_modes(directory: Path) -> None:
    """Take the write permission of a directory from others."""
    inner = directory / "mode"
    inner.mkdir(0o777)
    inner.chmod(0o755)
    if inner.stat().st_mode & OTHERS_MAY_WRITE:
        raise RuntimeError("others keep the right to write")


NEEDED: Mapping[str, Callable[[Path], None]] = {
    "exclusive creation": try_exclusive,
    "hard links": try_links,
    "renaming over a file": try_rename,
    "modes that can be set": try_modes,
}


def require_publishing(directory: Path) -> None:
    """Check that results can be published in a directory, by doing what publishing does.

    Raises:
        MachineError: the file system lacks something, or the directory cannot be written.
    """
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".nllgen-try.", dir=directory))
    except OSError as error:
        raise_os_error("write", directory, error)
    try:
        for name, step in NEEDED.items():
            try:
                step(scratch)
            except (OSError, RuntimeError) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                raise MachineError(
                    f"nothing can be published in {directory}: its file system has no {name} ({why})",
                    "choose a --root on another file system; nllgen doctor says what each directory can do",
                ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
