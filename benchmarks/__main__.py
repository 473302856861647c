"""Run the benchmarks, or those named, such as ``python -m benchmarks doors steps``: ``PARTS`` lists them.

``soak`` is by name alone: it takes hours, and looks for faults instead of times.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from nllgen.store.provenance import code_sha256

PARTS = (
    "doors",
    "launching",
    "supervision",
    "steps",
    "peers",
    "frechet",
    "metrics",
    "mnist",
    "learning",
    "nash",
    "memory",
    "budget",
    "growth",
    "image",
)
RESULTS = Path(__file__).with_name("results")


def machine() -> str:
    """Processor, cores and library versions."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    units = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if re.search(rf"\b{flag}\b", cpuinfo)]
    return (
        f"{model[1] if model else platform.processor()} ({', '.join(units)}), {len(os.sched_getaffinity(0))} cores, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def main() -> None:
    """Measure and write."""
    RESULTS.mkdir(exist_ok=True)
    for part in sys.argv[1:] or PARTS:
        rows = importlib.import_module(f"benchmarks.{part}").rows()
        lines = [
            f"`python -m benchmarks {part}` on {datetime.now(UTC):%Y-%m-%d}, {machine()}; code {code_sha256()[:12]}.",
            "",
            "| work | measured | to reach |",
            "|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
        (RESULTS / f"{part}.md").write_text("\n".join(lines) + "\n")
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
