"""Requirements of training on this machine: torch, which is not imported, and the GPUs that a run may use."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path

from nllgen.errors import MachineError
from nllgen.study.hardware import num_cores

_VARIABLE = "CUDA_VISIBLE_DEVICES"
MPS_PIPES = "CUDA_MPS_PIPE_DIRECTORY"
_UUID = re.compile(r"(GPU|MIG)-[A-Za-z0-9][A-Za-z0-9/-]*")  # also a beginning of one, and the older MIG-GPU-…/1/0

Gpu = int | str  # its number, or the UUID of a GPU or of a part of one


def assign_gpus(device: str) -> tuple[tuple[Gpu, ...], str]:
    """Return the GPUs that workers take in turn, and the device option of each worker.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, where N counts the GPUs that this process may use.

    Raises:
        MachineError: there is no such GPU, or a name is none of a GPU.
    """
    if device == "cpu":
        return (), device
    gpus = visible_gpus(os.environ)
    if device == "auto":
        return gpus, device
    number = int(device.partition(":")[2] or 0)
    if number >= len(gpus):
        allowed = "use auto, cpu, cuda or cuda:N with N counted from 0" if gpus else "use auto or cpu"
        num = f"{len(gpus)} GPU{'' if len(gpus) == 1 else 's'} to be had"
        raise MachineError(f"there is no {device} here: {num}", allowed)
    return ((gpus[number],), "cuda") if ":" in device else (gpus, device)


def num_local_workers(num_gpus: int, *, workers: int = 0, pack: int = 1) -> int:
    """Return the number of cells that run at once on this machine.

    Args:
        num_gpus: GPUs that they take in turn; 0 if they run on processors.
        workers: the number that a user asks for; 0 for none.
        pack: cells for each GPU, each in a process of its own.
    """
    return workers or (pack * num_gpus if num_gpus else num_cores())


def visible_gpus(environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Return the GPUs that a process with these environment variables may use, by the names that they have there.

    submitit's local executor hides every GPU that it is not told of.

    Raises:
        MachineError: a name is neither a number nor a UUID.
    """
    names = environ.get(_VARIABLE)
    if names is None:
        return tuple(range(_num_device_files()))
    gpus: list[Gpu] = []
    for name in (part.strip() for part in names.split(",")):
        if name in ("-1", "NoDevFiles"):  # CUDA ignores these and all names after them; Slurm writes the second
            break
        if name.isascii() and name.isdigit():
            gpus.append(int(name))
        elif _UUID.fullmatch(name):
            gpus.append(name)
        elif name:
            raise MachineError(
                f"{_VARIABLE} names GPU {name!r}, which is neither a number nor a UUID",
                "name the GPUs by their numbers (0,1) or UUIDs (GPU-…, MIG-…), or use --device cpu",
            )
    return tuple(gpus)


def mps_pipes(environ: Mapping[str, str]) -> Path | None:
    """Return the directory by which processes reach NVIDIA's multi-process service, if these variables name it.

    The service lets the processes on a GPU run their kernels at once; without it they take turns. A site or a line of
    ``setup`` starts it.
    """
    directory = Path(environ.get(MPS_PIPES, ""))
    return directory if directory.is_absolute() and directory.is_dir() else None


def _num_device_files() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def has_torch() -> bool:
    """Return whether this Python has torch, which is not imported."""
    return importlib.util.find_spec("torch") is not None


def require_torch(purpose: str = "training") -> None:
    """Check that this Python has torch.

    Raises:
        MachineError: torch is not installed.
    """
    if not has_torch():
        raise MachineError(f"torch is not installed, and {purpose} needs it", "pip install 'nllgen[train]'")
