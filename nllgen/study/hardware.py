"""Properties of this machine that runs and their plans depend on, without torch for login nodes."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nllgen.study.config import Precision

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # by which libraries choose threads


def num_cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def auto_precision(cpuinfo: str | None = None) -> Precision:
    """Return ``bf16`` where the processor multiplies bf16 (AMX or AVX-512), else ``fp32``.

    Args:
        cpuinfo: text of ``/proc/cpuinfo``; read from this machine by default.
    """
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text(errors="replace")
        except OSError:  # not Linux
            return "fp32"
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return "bf16" if flags and {"amx_bf16", "avx512_bf16"} & set(flags[1].split()) else "fp32"
