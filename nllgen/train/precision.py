"""Precision and device of training."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from nllgen.errors import MachineError
from nllgen.study.config import Precision
from nllgen.study.hardware import auto_precision


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Create the context of training's forward passes."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def require_precision(precision: Precision, device: torch.device) -> None:
    """Check that the device supports the precision that is part of the cell's id.

    Raises:
        MachineError: the precision is bf16 and the device has no bf16 instructions.
    """
    if precision == "fp32":
        return
    able = torch.cuda.is_bf16_supported() if device.type == "cuda" else auto_precision() == "bf16"
    if not able:
        raise MachineError(
            f"the cell's precision is bf16, but this {device.type} has no bf16 instructions",
            "run it on another node, or submit the grid with `precision: fp32`",
        )


def choose_device(name: str = "auto") -> torch.device:
    """Return the named device; ``auto`` is CUDA if available, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
