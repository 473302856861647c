"""In which arithmetic a run trains, and where a machine lacks it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from nllgen.errors import MachineError
from nllgen.study.config import Precision
from nllgen.study.hardware import auto_precision


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """The context of training's forward passes."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def require_precision(precision: Precision, device: torch.device) -> None:
    """Refuse a machine without the arithmetic that the cell's id says.

    Raises:
        MachineError: bf16 was meant and this device has no instructions for it.
    """
    if precision == "fp32":
        return
    able = torch.cuda.is_bf16_supported() if device.type == "cuda" else auto_precision() == "bf16"
    if not able:
        raise MachineError(
            f"the cell is to be trained in bf16, this {device.type} has no bf16 instructions",
            "run it on another node, or submit the grid with `precision: fp32`",
        )


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA where there is a device, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
