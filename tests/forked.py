"""``nllgen`` in a process forked from the tests, which saves the seconds of importing torch."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from typing import Self

from nllgen.cli import main


class Forked:
    """A process with pipes like :class:`subprocess.Popen`; leaving the block closes its input and waits for its end.

    Args:
        words: of the command line, after ``nllgen``.
        patience_s: seconds to wait for its end.
    """

    def __init__(self, words: Sequence[str], *, patience_s: float = 120):
        from_parent, to_child = os.pipe()
        from_child, to_parent = os.pipe()
        self.stdin, self.stdout = os.fdopen(to_child, "wb"), os.fdopen(from_child, "rb")
        ours, theirs = (to_child, from_child), (from_parent, to_parent)
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_be, args=(list(words), ours, theirs))
        self._process.start()
        for end in theirs:
            os.close(end)
        self._patience_s = patience_s

    @property
    def returncode(self) -> int | None:
        """Return its exit code, negative after a signal, or None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """Send SIGKILL."""
        if self._process.is_alive():
            os.kill(self._process.pid or 0, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self._process.join(self._patience_s)
        ended = self.returncode is not None
        self.kill()
        self._process.join()
        self.stdout.close()
        assert ended, "it did not end"


def _be(words: Sequence[str], ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    """Run as the child, with its own standard streams and pipes in place of the tests'."""
    for end in ours:
        os.close(end)
    for number, end in enumerate(theirs):
        os.dup2(end, number)
        os.close(end)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    sys.argv = ["nllgen", *words]
    main()
