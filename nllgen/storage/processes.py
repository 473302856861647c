"""Work in several processes that end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal, TypeVar

from nllgen.errors import MachineError
from nllgen.study.hardware import num_cores

T = TypeVar("T")
_MOST = 8


def num_processes() -> int:
    """Return how many processes may work at once: one per processor of this job, at most eight."""
    allowed = os.environ.get("SLURM_CPUS_PER_TASK", "")  # not every cluster binds a job to what it asked for
    return min(num_cores(), int(allowed) if allowed.isdecimal() else _MOST, _MOST)


def completed(
    function: Callable[[Any], T],
    items: Sequence[Any],
    num: int,
    work: str,
    *,
    start: Literal["spawn", "fork"] = "spawn",
    prepare: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[tuple[int, T]]:
    """Apply a function in other processes; yield the rank of each item with its result as soon as it is there.

    Args:
        function: of a module, so that it can be named to another process.
        items: its arguments.
        num: processes at once.
        work: what a process does, as the error says it: "reads results".
        start: ``fork`` shares the memory and the imports of this process, which may have started no thread that
            holds a lock.
        prepare: is called once in each process, with ``arguments``.
        arguments: are not copied to a fork.

    Raises:
        MachineError: a process was killed.
    """
    context = multiprocessing.get_context(start)
    with (
        ProcessPoolExecutor(min(num, len(items)), context, _enter, (os.getpid(), prepare, arguments)) as pool,
        warnings.catch_warnings(),
    ):
        # the threads are those of numpy's libraries, which are prepared for a fork
        warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
        try:
            ranks: dict[Future[T], int] = {pool.submit(function, item): rank for rank, item in enumerate(items)}
            for future in as_completed(ranks):
                yield ranks[future], future.result()
        except BrokenProcessPool as error:
            raise MachineError(
                f"a process that {work} was killed", "give it more memory, then run the same command again"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _enter(parent: int, prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Leave Ctrl-C to the parent process, and end when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if prepare:
        prepare(*arguments)
