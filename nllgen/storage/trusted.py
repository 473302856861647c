"""The record of what this user has submitted or accepted on this site: one file per digest, outside of every study.

A study's directory cannot show who submitted it: the files of an archive belong to the user who extracts it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from pathlib import Path

from nllgen.storage.atomic import make_folder
from nllgen.storage.ownership import OTHERS_MAY_WRITE, folder_opening
from nllgen.study.user_directories import user_directory

_MODE = 0o600


def record_dir() -> Path:
    """Return the directory of the record, in the user's directory of states."""
    return user_directory("STATE") / "trusted"


def is_trusted(digest: str) -> bool:
    """Return whether this user has recorded a digest; what others own or may write records nothing."""
    try:
        info = (record_dir() / digest).lstat()
        is_private = not [*folder_opening(record_dir())]
    except OSError:
        return False
    is_own = info.st_uid == os.geteuid() and not info.st_mode & OTHERS_MAY_WRITE
    return is_private and is_own and stat.S_ISREG(info.st_mode)


def record_trust(digest: str, text: str) -> None:
    """Record a digest, with a text for people; a digest that is recorded already is left as it is.

    Raises:
        OSError, MachineError: the directory of states cannot be written, or the record is another user's.
    """
    if is_trusted(digest):
        return
    directory = record_dir()
    make_folder(directory.parent)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(0o700)
        directory.chmod(0o700)  # a default ACL may have added rights
    part = directory / f".{uuid.uuid4().hex}"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
        os.fchmod(fd, _MODE)
        file.write(f"{text}\n")
    part.replace(directory / digest)  # also a link, or a file that others may write
    if not is_trusted(digest):
        raise PermissionError(f"others may write {directory}")
