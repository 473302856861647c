"""Processes that run a line at a time when told to, so that a test can play any schedule of several, kills included.

A player is a real, forked process. It waits before each line of the modules that lease and publish, so that it can be
paused or killed between any two lines; its locks and files are those of the kernel. Only its clock and the name of its
host are replaced: an hour passes at once, and one machine stands for several.
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

_Queue = task_queue.TaskQueue


def _names(*functions: Callable[..., object]) -> frozenset[str]:
    return frozenset(function.__name__ for function in functions)


# module → its functions that run line by line; empty stands for all
_PLAYED: dict[str, frozenset[str]] = {
    str(lease.__file__): frozenset(),
    str(atomic.__file__): frozenset(),
    str(attempt.__file__): frozenset(),
    str(tasks.__file__): _names(tasks.record, tasks.read_attempts),
    str(task_queue.__file__): _names(
        _Queue.lease_next,
        _Queue._can_run,
        _Queue._can_run_under_lease,
        _Queue._record_lost_attempt,
        _Queue._is_to_run,
    ),
    str(result.__file__): _names(result.write_result),
}

PAUSED, BLOCKED, IDLE, OVER = "paused", "blocked", "idle", "over"
Event = tuple[Any, ...]


class Hand:
    """The player's side of its pipe: it waits for a number of lines to run and for the time."""

    def __init__(self, pipe: Connection):
        self._pipe = pipe
        self._lines = 0
        self._to_event = False
        self._events: list[Event] = []
        self.now = 0.0

    def wait(self, why: str) -> None:
        """Report why the player stops, and wait until it is told to go on."""
        self._pipe.send((why, self._events))
        self._events = []
        self._lines, self._to_event, self.now = self._pipe.recv()

    def report(self, *event: Any) -> None:
        """Report an event to the director when the player stops next."""
        self._events.append(event)

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        """Trace the lines of the played functions; an argument of ``sys.settrace``."""
        names = _PLAYED.get(frame.f_code.co_filename)
        return self._line if names is not None and (not names or frame.f_code.co_name in names) else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self._lines -= 1
            if self._lines <= 0 or (self._to_event and self._events):
                self.wait(PAUSED)
        return self._line

    def flock(self, fd: int, operation: int) -> None:
        """Call ``fcntl.flock`` without blocking; report to the director while another process has the lock."""
        while True:
            try:
                return fcntl.flock(fd, operation | fcntl.LOCK_NB)
            except BlockingIOError:
                self.wait(BLOCKED)


class Player:
    """The director's side of a player's pipe.

    Args:
        play: the function that the process runs.
        host: the name of its host.
        can_lock: whether its file system supports locks.
    """

    def __init__(self, play: Callable[[Hand], None], host: str, *, can_lock: bool = True):
        self._pipe, childs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._pipe.close()
            _be(Hand(childs), play, host, can_lock)
        childs.close()
        self.is_over = False
        self.events, self.why = self._receive()

    def go(self, lines: int, now: float, *, to_event: bool = False) -> str:
        """Run a number of lines, or with ``to_event`` at most until the next event; return why the player stopped."""
        if not self.is_over:
            self._pipe.send((lines, to_event, now))
            self.events, self.why = self._receive()
        return self.why

    def kill(self) -> None:
        """Send SIGKILL."""
        if not self.is_over:
            os.kill(self.pid, signal.SIGKILL)
            self._end()

    def _receive(self) -> tuple[list[Event], str]:
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
    """Run as the child and exit."""
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
            hand.report("error", traceback.format_exc())
        sys.settrace(None)
        hand._pipe.send((OVER, hand._events))
    os._exit(0)


def _no_locks(fd: int, operation: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
