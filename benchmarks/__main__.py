"""Run all benchmarks in one go and write the table."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks import doors, frechet, mnist, steps
from nllgen.store.provenance import code_sha256

OUT = Path(__file__).with_name("results.md")


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
    lines = [
        "# Measured",
        "",
        f"By `make bench` on {datetime.now(UTC):%Y-%m-%d}: {machine()}; code {code_sha256()[:12]}.",
        "Medians; nothing else ran.",
        "",
        "| work | measured | to reach |",
        "|---|---|---|",
    ]
    for part in (doors, steps, frechet, mnist):
        for row in part.rows():
            lines.append(f"| {' | '.join(row)} |")
            print(*row, sep="  ", flush=True)
    OUT.write_text("\n".join(lines) + "\n")
    print(f"written to {OUT.name}")


if __name__ == "__main__":
    main()
