"""Loop of a worker: run one task after another, so that torch is imported once and not once a cell.

Orders are lines on standard input, and its end asks to stop. Each is answered by a line on the standard output that the
worker was started with; the output of a task goes to the task's own log.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator

import torch

from nllgen.errors import EXIT_CELLS_FAILED, EXIT_DONE, EXIT_ENVIRONMENT, EXIT_STOPPED, NllgenError
from nllgen.study.run_options import TaskAnswer, TaskOrder

OUT_OF_MEMORY = "out of memory"
_MAX_REASON = 200


def serve(lines: Iterable[bytes], run: Callable[[TaskOrder], None]) -> int:
    """Run ordered tasks until the orders end or a task fails.

    A failure may leave the process in any state. It ends, and the next task gets a new one.

    Args:
        lines: orders as JSON.
        run: runs one task.

    Returns:
        Exit code of the last task.

    Raises:
        ConfigError: a line is no order.
    """
    gc.freeze()  # imported objects stay: collections between tasks skip them
    with _answers() as send:
        code = EXIT_DONE
        for line in lines:
            order = TaskOrder.from_json(line)
            code, reason = _run_one(order, run)
            send(TaskAnswer(code, reason, order.attempt))
            if code != EXIT_DONE:
                break
            gc.collect()
        return code


@contextlib.contextmanager
def _answers() -> Iterator[Callable[[TaskAnswer], None]]:
    """Yield a function that writes to the present standard output, wherever that points later."""
    with os.fdopen(os.dup(1), "w", buffering=1) as file:

        def send(answer: TaskAnswer) -> None:
            with contextlib.suppress(BrokenPipeError):  # the supervisor is gone: standard input ends as well
                file.write(answer.to_json() + "\n")

        yield send


def _run_one(order: TaskOrder, run: Callable[[TaskOrder], None]) -> tuple[int, str]:
    """Run a task; return its exit code and the reason of a failure."""
    try:
        if order.log:
            _redirect_output(order.log)
        run(order)
    except NllgenError as error:
        print(f"error: {error}", flush=True)
        return error.exit_code, error.message.splitlines()[0][:_MAX_REASON]
    except KeyboardInterrupt:
        return EXIT_STOPPED, "interrupted"
    except Exception as error:  # recorded as the task's failure; it does not end the job
        return _report_unexpected(error)
    return EXIT_DONE, ""


def _report_unexpected(error: Exception) -> tuple[int, str]:
    """Print the traceback of an error; return its exit code and the reason."""
    with contextlib.suppress(OSError):
        traceback.print_exception(error, file=sys.stdout)
        sys.stdout.flush()
    if is_out_of_memory(error):
        return EXIT_CELLS_FAILED, OUT_OF_MEMORY
    code = EXIT_ENVIRONMENT if isinstance(error, OSError) else EXIT_CELLS_FAILED
    return code, f"{type(error).__name__}: {error}"[:_MAX_REASON]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an allocation failed, on the CPU or a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _redirect_output(log: str) -> None:
    """Make a log standard output and error; it is opened without following a link."""
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
