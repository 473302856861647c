"""Processes that go on a line at a time, when told to: any schedule of several can be played, kills included.

A player is a real process, forked here. It hands back control before each line of the modules that lease and publish,
so that it can be held, or killed, between any two of them; the kernel then does with its locks and files what it does.
Only its clock and the name of its host are given, so that an hour passes at once and a machine can be many.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

from nllgen.launch import attempt, lease, task_queue, tasks
from nllgen.storage import atomic, result

# module → the functions in it that are played line by line; empty is every one
_PLAYED: dict[str, frozenset[str]] = {
    str(lease.__file__): frozenset(),
    str(atomic.__file__): frozenset(),
    str(attempt.__file__): frozenset(),
    str(tasks.__file__): frozenset({"record", "read_attempts"}),
    str(task_queue.__file__): frozenset(
        {"lease_next", "_can_run", "_can_run_under_lease", "_record_lost_attempt", "_drop_if_done"}
    ),
    str(result.__file__): frozenset({"write_result"}),
}

PAUSED, BLOCKED, IDLE, OVER = "paused", "blocked", "idle", "over"
Event = tuple[Any, ...]


class Hand:
    """A player's own side: hands control back, and hears how many lines it may go on, and what time it is."""

    def __init__(self, pipe: Connection):
        self._pipe = pipe
        self._lines = 0
        self._to_event = False
        self._events: list[Event] = []
        self.now = 0.0

    def wait(self, why: str) -> None:
        """Hand control back until told to go on."""
        self._pipe.send((why, self._events))
        self._events = []
        self._lines, self._to_event, self.now = self._pipe.recv()

    def tell(self, *event: Any) -> None:
        """Let the director know, together with the next hand-over; takes no time."""
        self._events.append(event)

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        """For ``sys.settrace``."""
        names = _PLAYED.get(frame.f_code.co_filename)
        return self._line if names is not None and (not names or frame.f_code.co_name in names) else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self._lines -= 1
            if self._lines <= 0 or (self._to_event and self._events):
                self.wait(PAUSED)
        return self._line

    def flock(self, fd: int, operation: int) -> None:
        """As ``fcntl.flock``, without making the director wait."""
        while True:
            try:
                return fcntl.flock(fd, operation | fcntl.LOCK_NB)
            except BlockingIOError:
                self.wait(BLOCKED)


class Player:
    """The director's side of a process.

    Args:
        play: what it does.
        host: that it believes to be on.
        can_lock: whether its file system can lock.
    """

    def __init__(self, play: Callable[[Hand], None], host: str, *, can_lock: bool = True):
        self._pipe, childs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._pipe.close()
            _be(Hand(childs), play, host, can_lock)
        childs.close()
        self.is_over = False
        self.events, self.why = self._hear()

    def go(self, lines: int, now: float, *, to_event: bool = False) -> str:
        """Let it do so many lines, or until something happened if that is sooner; tells why it stopped."""
        if not self.is_over:
            self._pipe.send((lines, to_event, now))
            self.events, self.why = self._hear()
        return self.why

    def kill(self) -> None:
        """SIGKILL, wherever it is."""
        if not self.is_over:
            os.kill(self.pid, signal.SIGKILL)
            self._end()

    def _hear(self) -> tuple[list[Event], str]:
        why, events = self._pipe.recv()
        if why == OVER:
            self._end()
            for event in events:
                assert event[0] != "error", event[1]
        return events, why

    def _end(self) -> None:
        os.waitpid(self.pid, 0)
        self._pipe.close()
        self.is_over, self.why = True, OVER


def _be(hand: Hand, play: Callable[[Hand], None], host: str, can_lock: bool) -> None:
    """The child: never returns."""
    with contextlib.suppress(BaseException):
        lease._host = lambda: host  # type: ignore[assignment]
        lease.time = SimpleNamespace(monotonic=lambda: hand.now)  # type: ignore[assignment,attr-defined]
        flock = hand.flock if can_lock else _no_locks
        atomic.fcntl = SimpleNamespace(LOCK_EX=fcntl.LOCK_EX, flock=flock)  # type: ignore[assignment,attr-defined]
        os.environ["PATH"] = str(Path("/nonexistent"))  # no scheduler is asked
        try:
            hand.wait(PAUSED)
            sys.settrace(hand.trace)
            play(hand)
        except BaseException:
            sys.settrace(None)
            hand.tell("error", traceback.format_exc())
        sys.settrace(None)
        hand._pipe.send((OVER, hand._events))
    os._exit(0)


def _no_locks(fd: int, operation: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
