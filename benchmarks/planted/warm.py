"""A process that has imported the libraries of the tests and forks for each run of pytest, which then starts faster.

``python warm.py MODULE…`` reads lines of JSON, ``{"arguments": […], "output": PATH, "limit_s": S}``, and answers each
with the exit code of pytest, or null where the time ran out. MODULEs must not be the project's, nor plugins of pytest,
whose assertions pytest rewrites on import.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any


def main() -> None:
    """Run pytest in a fork for each line of standard input, and print its exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, as in tests/conftest.py
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sys.argv[1:]:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    child = 0

    def end(number: int, _: Any) -> None:
        if child:
            with contextlib.suppress(OSError):  # it may have ended
                os.killpg(child, signal.SIGKILL)
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            _run(order)
        code = _wait(child, order["limit_s"])
        with contextlib.suppress(OSError):
            os.killpg(child, signal.SIGKILL)  # processes that it left behind
        child = 0
        print(json.dumps(code), flush=True)


def _run(order: dict[str, Any]) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    file = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (file, 1), (file, 2)):
        os.dup2(source, target)
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).parent)]
    sys.argv = ["pytest", *order["arguments"]]
    import pytest

    code = 3
    try:
        code = int(pytest.main(order["arguments"]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, limit_s: float) -> int | None:
    end = time.monotonic() + limit_s
    pause = 0.02
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    main()
