"""A worker process: torch is set up here, once, before anything is computed."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from nllgen.errors import MachineError
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Cell, DatasetConfig
from nllgen.train.precision import choose_device
from nllgen.worker.dataset import draw_dataset
from nllgen.worker.evaluate import Evaluated, evaluate
from nllgen.worker.run_task import exact_arithmetic, run_task
from nllgen.worker.train_cell import Settings


def enter(
    study_dir: StudyDir,
    task: str,
    threads: int,
    device: str,
    assets: Path,
    should_stop: Callable[[], bool],
    **how: Any,
) -> None:
    """Run one task with a thread count and a device.

    Args:
        study_dir: a frozen study.
        task: ``truth``, ``dataset`` or a cell's id.
        threads: of torch; a checkpoint's own count takes its place.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        assets: folder of fetched assets.
        should_stop: whether a stop was asked for.
        how: further fields of :class:`Settings`.

    Raises:
        MachineError: there is no such device here.
    """
    settings = set_up(threads, device, assets, should_stop, **how)
    run_task(study_dir, task, settings)


def enter_evaluation(
    study_dir: StudyDir,
    names: Sequence[str],
    cells: Sequence[Cell],
    threads: int,
    device: str,
    assets: Path,
    should_stop: Callable[[], bool],
) -> Evaluated:
    """Measure groups of metrics on finished cells with a thread count and a device.

    Raises:
        MachineError: there is no such device here.
    """
    return evaluate(study_dir, names, cells, set_up(threads, device, assets, should_stop, attempt="evaluate"))


def enter_drawing(
    weights: Path,
    path: Path,
    config: DatasetConfig,
    threads: int,
    interruptible: Callable[[], contextlib.AbstractContextManager[Any]],
) -> None:
    """Draw the data set of a truth on the CPU with a thread count.

    Raises:
        ConfigError: the data set that is there was drawn from another truth.
        StoppedError: a stop was asked for; nothing was written.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    exact_arithmetic()
    draw_dataset(weights, path, config, interruptible)


def set_up(
    threads: int, device: str, assets: Path, should_stop: Callable[[], bool], *, attempt: str, **how: Any
) -> Settings:
    """Set up torch in this process.

    Args:
        threads: of torch; a checkpoint's own count takes its place.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        assets: folder of fetched assets.
        should_stop: whether a stop was asked for.
        attempt: name of the attempt.
        how: further fields of :class:`Settings`.

    Raises:
        MachineError: there is no such device here.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    where = device_of(device)
    interruptible = getattr(should_stop, "interruptible", contextlib.nullcontext)
    return Settings(where, assets, attempt, should_stop, interruptible=interruptible, **how)


def device_of(name: str) -> torch.device:
    """The device of a name.

    Raises:
        MachineError: there is no such device here.
    """
    try:
        device = choose_device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MachineError(
            f"device {name} is not to be had: {str(error).splitlines()[0]}", "use auto, cpu, cuda or cuda:N"
        ) from error
    return device


def keep_freed_memory() -> None:
    """Let glibc reuse what a step frees instead of giving it back to the kernel.

    A training step allocates the same large blocks again and again; by default each is mapped anew, thousands of page
    faults a step. Elsewhere than on glibc nothing is done.
    """
    mmap_threshold, trim_threshold = -3, -1  # malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 32 << 20)  # the largest that glibc takes
        libc.mallopt(trim_threshold, 2**31 - 1)
