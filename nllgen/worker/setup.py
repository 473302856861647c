"""Entry of a process into a task: set up torch before anything is computed."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch

from nllgen.errors import MachineError
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Cell, DatasetConfig
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.train.precision import choose_device
from nllgen.worker.dataset import draw_dataset
from nllgen.worker.evaluate import Evaluated, evaluate
from nllgen.worker.progress import Display, plain_lines
from nllgen.worker.run_task import exact_arithmetic, run_task
from nllgen.worker.settings import NeverStop, Settings, Stop

_EVALUATION = TaskOrder(task="evaluation", attempt="evaluation")


def enter(
    study_dir: StudyDir,
    order: TaskOrder,
    options: RunOptions,
    stop: Stop | None = None,
    display: Display = plain_lines,
) -> None:
    """Set up torch and run one task.

    Args:
        study_dir: a frozen study.
        order: the task and its attempt.
        options: the worker's options.
        stop: request to stop; None where none can come.
        display: shows the task's progress.

    Raises:
        MachineError: there is no such device.
        StoppedError: a stop was asked for.
    """
    run_task(study_dir, set_up(order, options, stop or NeverStop(), display))


def enter_evaluation(
    study_dir: StudyDir,
    names: Sequence[str],
    cells: Sequence[Cell],
    options: RunOptions,
    stop: Stop,
    display: Display = plain_lines,
) -> Evaluated:
    """Set up torch and measure groups of metrics on finished cells.

    Raises:
        MachineError: there is no such device.
        StoppedError: a stop was asked for; what was published stays.
    """
    return evaluate(study_dir, names, cells, set_up(_EVALUATION, options, stop, display))


def enter_drawing(
    weights: Path, path: Path, config: DatasetConfig, threads: int, stop: Stop, display: Display = plain_lines
) -> None:
    """Set up torch and draw the data set of a truth on the CPU.

    Raises:
        ConfigError: the data set that exists was drawn from another truth.
        StoppedError: a stop was asked for; what is drawn is kept.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    exact_arithmetic()
    draw_dataset(weights, path, config, stop, display)


def set_up(order: TaskOrder, options: RunOptions, stop: Stop, display: Display = plain_lines) -> Settings:
    """Set up torch in this process and return the settings of a task.

    Raises:
        MachineError: there is no such device.
    """
    keep_freed_memory()
    torch.set_num_threads(order.threads or options.threads)
    return Settings(device_of(options.device), options, order, stop, display)


def device_of(name: str) -> torch.device:
    """Return the device of a name.

    Raises:
        MachineError: there is no such device.
    """
    try:
        device = choose_device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MachineError(
            f"device {name} is not available: {str(error).splitlines()[0]}", "use auto, cpu, cuda or cuda:N"
        ) from error
    return device


def keep_freed_memory() -> None:
    """Make glibc reuse the memory that a step frees instead of returning it to the kernel.

    A training step allocates the same large blocks again and again. By default each is mapped anew, which costs
    thousands of page faults a step. With another C library than glibc nothing is done.
    """
    mmap_threshold, trim_threshold = -3, -1  # malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 32 << 20)  # the largest value that glibc accepts
        libc.mallopt(trim_threshold, 2**31 - 1)
