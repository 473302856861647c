"""A worker runs one task after another, as it is ordered to: torch is imported once, not once a cell.

Orders are lines of JSON on standard input, and their end asks to stop; each is answered by a line on what was standard
output when the worker began. Meanwhile what a task prints goes to its own log.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from nllgen.errors import EXIT_CELLS_FAILED, EXIT_DONE, EXIT_ENVIRONMENT, EXIT_STOPPED, NllgenError

OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True)
class TaskOrder:
    """One task to run.

    Attributes:
        task: ``truth``, ``dataset`` or a cell's id.
        attempt: name of the attempt.
        attempts: on this task so far, this one included.
        threads: of torch, as in its first attempt; 0 takes as many as the worker was started with.
        log: file that takes what the task prints.
    """

    task: str
    attempt: str
    attempts: int
    log: str
    threads: int = 0


def serve(orders: Iterable[Mapping[str, Any]], run: Callable[[TaskOrder], None]) -> int:
    """Run what is ordered until the orders end or a task fails.

    After a failure the process has an unknown past, so that it ends and the next task gets a new one.

    Returns:
        Exit code of the last task.
    """
    gc.freeze()  # what is imported stays: collecting between tasks looks at what the tasks have left
    with _replies() as reply:
        code = EXIT_DONE
        for values in orders:
            order = TaskOrder(**values)
            code, reason = _run_one(order, run)
            reply({"attempt": order.attempt, "exit_code": code, "reason": reason})
            if code != EXIT_DONE:
                break
            gc.collect()
        return code


@contextlib.contextmanager
def _replies() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Writes to what is standard output now, wherever it points later."""
    with os.fdopen(os.dup(1), "w", buffering=1) as file:

        def reply(message: Mapping[str, Any]) -> None:
            with contextlib.suppress(BrokenPipeError):  # who would read it has gone; standard input ends as well
                file.write(json.dumps(message) + "\n")

        yield reply


def _run_one(order: TaskOrder, run: Callable[[TaskOrder], None]) -> tuple[int, str]:
    """Exit code, and why where it is known."""
    try:
        _print_to(order.log)
        run(order)
    except NllgenError as error:
        print(f"error: {error}", flush=True)
        return error.exit_code, error.message.splitlines()[0][:200]
    except KeyboardInterrupt:
        return EXIT_STOPPED, "interrupted"
    except Exception as error:  # a task's failure is its own: it is told, recorded and does not end the job
        with contextlib.suppress(OSError):
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
        if is_out_of_memory(error):
            return EXIT_CELLS_FAILED, OUT_OF_MEMORY
        code = EXIT_ENVIRONMENT if isinstance(error, OSError) else EXIT_CELLS_FAILED
        return code, f"{type(error).__name__}: {error}"[:200]
    return EXIT_DONE, ""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the CPU or a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _print_to(log: str) -> None:
    """From here on standard output and error are the log; it is created without following a link."""
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
