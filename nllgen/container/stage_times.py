"""The time that a stage of a build still takes, by the time that it took before on this machine."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nllgen.errors import MachineError
from nllgen.storage.atomic import write_bytes
from nllgen.study.untrusted_files import read_regular

_FIRST_S = {"base": 180.0, "nllgen": 60.0}  # until it was measured here
_LATE = 1.1  # a stage that takes longer than before is expected to take so much longer than until now
_MAX_S = 1e5


@contextlib.contextmanager
def timed_stage(
    stage: str, cache: Path, progress: Callable[[int, int], None] | None, interval_s: float = 1.0
) -> Iterator[None]:
    """Report how many seconds of how many a stage has taken, and keep the time of one that succeeds.

    Args:
        stage: ``base`` or ``nllgen``.
        cache: directory of the times.
        progress: is called by a thread of its own.
        interval_s: seconds between its calls.
    """
    expected_s, started, has_ended = _expected_s(stage, cache), time.monotonic(), threading.Event()

    def report() -> None:
        while progress and not has_ended.wait(interval_s):
            elapsed_s = time.monotonic() - started
            progress(round(elapsed_s), round(max(expected_s, _LATE * elapsed_s + 1)))

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()
    with contextlib.suppress(MachineError):  # it is a hint for the next time
        write_bytes(_path(stage, cache), f"{time.monotonic() - started:.1f}\n".encode())


def _path(stage: str, cache: Path) -> Path:
    return cache / f"{stage}.seconds"


def _expected_s(stage: str, cache: Path) -> float:
    with contextlib.suppress(OSError, ValueError):
        seconds = float(read_regular(_path(stage, cache), 100))
        if 0 < seconds < _MAX_S:
            return seconds
    return _FIRST_S[stage]
