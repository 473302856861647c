"""An absence is judged again until patience is over."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from nllgen.errors import MachineError
from nllgen.storage.visibility import appears, is_seen, is_there

_TOO_LONG = "x" * 300  # for a name: a file system answers neither yes nor no


def test_what_is_there_costs_no_time(tmp_path: Path) -> None:
    begin = time.monotonic()
    assert appears(tmp_path.exists, [tmp_path], 60.0)
    assert time.monotonic() - begin < 0.4


def test_what_comes_late_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "cells" / "result.h5"

    def publish() -> None:
        path.parent.mkdir()
        path.touch()

    timer = threading.Timer(0.6, publish)
    timer.start()
    assert appears(path.exists, [path.parent], 60.0)
    timer.join()


def test_what_does_not_come_is_absent(tmp_path: Path) -> None:
    assert not appears((tmp_path / "x").exists, [tmp_path / "gone"], 0.2)


def test_only_a_file_system_that_answers_says_that_nothing_is_there(tmp_path: Path) -> None:
    assert is_there(tmp_path)
    assert not is_there(tmp_path / "x")
    (tmp_path / "away").symlink_to(tmp_path / "unmounted")
    for path in (tmp_path / _TOO_LONG, tmp_path / "away", tmp_path / "away" / "cell" / "result.h5"):
        with pytest.raises(MachineError):
            is_there(path)


def test_a_link_that_leads_somewhere_may_lack_a_file(tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(tmp_path)
    assert not is_there(tmp_path / "linked" / "cell" / "result.h5")


def test_what_is_polled_is_asked_again(tmp_path: Path) -> None:
    """Once, a file server that did not answer for a moment ended a supervisor."""
    assert is_seen(tmp_path)
    assert not is_seen(tmp_path / _TOO_LONG)
