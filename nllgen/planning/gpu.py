"""GPU-hours and GPU memory of a plan, by a stated assumption until a run on a GPU has measured the rate."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nllgen.planning.cost import cell_cost, memory_bytes
from nllgen.storage.states import TaskFiles
from nllgen.storage.tasks import Task, TaskKind
from nllgen.study.config import Cell, Study

CORES_PER_GPU = 40.0  # assumed: of an AMD EPYC with AVX-512, as the shipped calibration has them
_CONTEXT_GB = 0.6  # assumed: CUDA's context and the libraries' workspace in each process


@dataclass(frozen=True)
class GpuRate:
    """The speed of a GPU beside a core.

    Attributes:
        cores: cores of the shipped calibration that do the same work.
        device: name of the GPU whose runs measured it; empty where it is assumed.
        num_runs: how many these are.
    """

    cores: float = CORES_PER_GPU
    device: str = ""
    num_runs: int = 0

    @property
    def note(self) -> str:
        """Return what GPU-hours are computed from, for people."""
        if not self.num_runs:
            return f"GPU-hours assume that one GPU does the work of {self.cores:.0f} cores; no run has measured it yet"
        runs = "run" if self.num_runs == 1 else "runs"
        return (
            f"GPU-hours by {self.num_runs} {runs} on {self.device}, which did the work of {self.cores:.0f} cores of an "
            "AMD EPYC"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for ``plan --json``."""
        return {**vars(self), "source": "measured" if self.num_runs else "assumed"}


ASSUMED = GpuRate()


def is_gpu(device: str) -> bool:
    """Return whether a result's device is a GPU; older results do not name theirs in the header."""
    return device not in ("", "cpu")


def gpu_rate(study: Study, tasks: Sequence[Task], files: Mapping[str, TaskFiles]) -> GpuRate:
    """Return the rate by the results of a study that were made on GPUs: the median over runs."""
    ratios, devices = [], []
    for task in tasks if files else ():
        file = files.get(task.name)
        if task.kind is TaskKind.DATASET or file is None or not is_gpu(file.device):
            continue
        if task.cell.model is not None:  # of which no arithmetic is counted
            continue
        measured, analytic = file.seconds_per_step or math.nan, cell_cost(task.cell, study).seconds_per_step
        if math.isfinite(measured) and measured > 0 and analytic > 0:
            ratios.append(analytic / measured)
            devices.append(file.device)
    if not ratios:
        return ASSUMED
    return GpuRate(statistics.median(ratios), statistics.mode(devices), len(ratios))


def gpu_memory_gb(cell: Cell) -> float:
    """Return the gigabytes of GPU memory of one run at its peak; all of its images are there."""
    return _CONTEXT_GB + memory_bytes(cell) / 1e9
