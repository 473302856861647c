"""An absence is judged again until patience is over."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from nllgen.storage.visibility import appears


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
