"""A request to stop, from a signal or from a supervisor that closes this process's standard input."""

from __future__ import annotations

import os
import signal
import sys
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class StopRequest:
    """True once a stop was asked for. A second SIGINT ends the process at once.

    Args:
        watch_stdin: end of file on standard input asks to stop, too.
    """

    def __init__(self, *, watch_stdin: bool = False):
        self._asked = threading.Event()
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        if watch_stdin:
            threading.Thread(target=self._until_eof, daemon=True).start()

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    def _on_signal(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self._asked.is_set():
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            print("stopping after this step; once more to stop at once", file=sys.stderr, flush=True)
        self._asked.set()

    def _until_eof(self) -> None:
        while os.read(0, 4096):
            pass
        self._asked.set()
