"""Requests to stop: signals, and a supervisor that closes this process's standard input.

A supervisor also gives its orders on standard input, one on each line.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Iterator

from nllgen.errors import StoppedError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class StopRequest:
    """A flag that is set by a request to stop. A second SIGINT ends the process at once.

    Must be made in the main thread, in which Python runs signal handlers.

    Args:
        watch_stdin: read orders from standard input; its end is a request to stop.
    """

    def __init__(self, *, watch_stdin: bool = False):
        self._asked = threading.Event()
        self._is_interruptible = False
        self._has_raised = False  # cleanup after the first exception is not interrupted by a second one
        self._orders: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        if watch_stdin:
            threading.Thread(target=self._read_orders, daemon=True).start()

    def __call__(self) -> bool:
        """Return True once a stop was requested."""
        return self._asked.is_set()

    def orders(self) -> Iterator[bytes]:
        """Yield the lines of standard input until it ends or a stop is asked for.

        A line that arrived before the stop is yielded nevertheless: its task stops at once and answers.
        """
        while (order := self._orders.get()) is not None:
            yield order

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a request to stop interrupt a block of the main thread, for long work without state.

        Raises:
            StoppedError: a stop was requested before or within the block.
        """
        before, self._is_interruptible = self._is_interruptible, True
        try:
            if self._asked.is_set():
                raise self._stopped()
            yield
        finally:
            self._is_interruptible = before

    def _stopped(self) -> StoppedError:
        self._has_raised = True
        return StoppedError("stopped when asked to", "run it again: it goes on from its checkpoint")

    def _on_signal(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()
        self._orders.put(None)
        if self._is_interruptible:
            if not self._has_raised:
                raise self._stopped()
        elif number == signal.SIGINT:
            with contextlib.suppress(OSError):  # not print, which the signal may have interrupted
                os.write(2, b"stopping after this step; once more to stop at once\n")

    def _read_orders(self) -> None:
        with os.fdopen(os.dup(0), "rb") as lines:
            for line in lines:
                self._orders.put(line)
        self._asked.set()
        self._orders.put(None)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)  # handlers run in the main thread
