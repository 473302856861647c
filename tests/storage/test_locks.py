"""Locks on folders: one process at a time, on every file system that has them."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nllgen.errors import MachineError
from nllgen.storage.atomic import (
    LOCK,
    locked,
)


def test_a_lock_on_a_folder_is_on_a_file_in_it_which_is_gone_at_the_end(tmp_path: Path) -> None:
    with locked(tmp_path), (tmp_path / LOCK).open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_was_left_behind_locks_nobody_out(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert list(tmp_path.iterdir()) == []


def test_however_many_want_a_lock_one_at_a_time_has_it(tmp_path: Path) -> None:
    directory, counter = tmp_path / "locked", tmp_path / "counter"
    directory.mkdir()
    counter.write_text("0")

    def count() -> None:
        for _ in range(200):
            with locked(directory):
                before = int(counter.read_text())
                time.sleep(0)
                counter.write_text(str(before + 1))

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(count) for _ in range(8)]:
            done.result()
    assert (counter.read_text(), list(directory.iterdir())) == ("1600", [])


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_used_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", raising(number))
    with locked(tmp_path):
        done = True
    assert done


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["open", "flock"])
def test_a_lock_that_cannot_be_taken_now_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    """Once, the block was entered without a lock."""
    monkeypatch.setattr(os if call == "open" else fcntl, call, raising(number))
    with pytest.raises(MachineError, match="cannot lock") as refused, locked(tmp_path):
        pytest.fail("entered without the lock")
    monkeypatch.undo()
    assert refused.value.exit_code == 3
    assert refused.value.hint
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_an_error_where_no_file_can_be_opened(tmp_path: Path) -> None:
    """By the kernel itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = sum(1 for _ in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(MachineError, match="Too many open files"), locked(tmp_path):
            pytest.fail("entered without the lock")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == used


def raising(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail
