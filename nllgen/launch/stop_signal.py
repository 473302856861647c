"""A request to stop, from a signal or from a supervisor that closes this process's standard input.

Standard input is also how a supervisor gives its orders, a line each.
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
    """True once a stop was asked for. A second SIGINT ends the process at once.

    To be made in the main thread, where Python runs the handlers of signals.

    Args:
        watch_stdin: lines of standard input are orders, and its end asks to stop.
    """

    def __init__(self, *, watch_stdin: bool = False):
        self._asked = threading.Event()
        self._interruptible = False
        self._raised = False  # once is enough: what unwinds is not interrupted again
        self._orders: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        if watch_stdin:
            threading.Thread(target=self._until_eof, daemon=True).start()

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    def orders(self) -> Iterator[bytes]:
        """Yield the lines of standard input until it ends or a stop is asked for.

        A line that arrived before the stop is yielded nevertheless: its task stops at once and answers.
        """
        while (order := self._orders.get()) is not None:
            yield order

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block of the main thread that a stop ends at once, for long work that keeps no state.

        Raises:
            StoppedError: a stop was asked for, before or within the block.
        """
        before, self._interruptible = self._interruptible, True
        try:
            if self._asked.is_set():
                raise self._stopped()
            yield
        finally:
            self._interruptible = before

    def _stopped(self) -> StoppedError:
        self._raised = True
        return StoppedError("stopped when asked to", "run it again: it goes on from its checkpoint")

    def _on_signal(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()
        self._orders.put(None)
        if self._interruptible:
            if not self._raised:
                raise self._stopped()
        elif number == signal.SIGINT:
            with contextlib.suppress(OSError):  # print might be what the signal came upon
                os.write(2, b"stopping after this step; once more to stop at once\n")

    def _until_eof(self) -> None:
        with os.fdopen(os.dup(0), "rb") as lines:
            for line in lines:
                self._orders.put(line)
        self._asked.set()
        self._orders.put(None)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)  # handlers run in the main thread
