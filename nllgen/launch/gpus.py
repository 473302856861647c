"""Which GPUs a run may use. No torch: a worker sees the one GPU that it is given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nllgen.errors import MachineError

_NAMES = "CUDA_VISIBLE_DEVICES"


def assign_gpus(device: str) -> tuple[tuple[int, ...], str]:
    """The GPUs that the workers take in turn, and the device that each is told.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, where N counts the GPUs that this process may use.

    Raises:
        MachineError: there is no such GPU here, or the GPUs have names that are not numbers.
    """
    if device == "cpu":
        return (), device
    gpus = visible(os.environ)
    if device == "auto":
        return gpus, device
    number = int(device.partition(":")[2] or 0)
    if number >= len(gpus):
        allowed = "use auto, cpu, cuda or cuda:N with N counted from 0" if gpus else "use auto or cpu"
        raise MachineError(f"there is no {device} here: {_count(len(gpus))}", allowed)
    return ((gpus[number],), "cuda") if ":" in device else (gpus, device)


def _count(num: int) -> str:
    return f"{num} GPU{'' if num == 1 else 's'} to be had"


def visible(environ: Mapping[str, str]) -> tuple[int, ...]:
    """GPUs that a process may use: submitit's local executor hides all that it is not told of.

    Args:
        environ: its environment.

    Raises:
        MachineError: they have names that are not numbers.
    """
    named = environ.get(_NAMES)
    if named is None:
        return tuple(range(_num_device_files()))
    gpus: list[int] = []
    for name in (part.strip() for part in named.split(",")):
        if name in ("-1", "NoDevFiles"):  # CUDA sees neither these nor what comes after; Slurm writes the second
            break
        if name and not (name.isascii() and name.isdigit()):
            raise MachineError(
                f"{_NAMES} names GPU {name!r}, which cannot be shared out among workers",
                "name the GPUs by their numbers, for example 0,1, or use --device cpu",
            )
        gpus += [int(name)] if name else []
    return tuple(gpus)


def _num_device_files() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))
