"""Run the benchmarks, or those named, such as ``python -m benchmarks commands steps``: ``PARTS`` lists them.

``results/PART.md`` has a table for each kind of processor that it was run on, the last one first.
``soak`` and ``kills`` are by name alone: they take hours, and look for faults instead of times. So are
``planted_faults`` and ``coverage``, which judge the tests, with options: ``python -m benchmarks coverage --help``.
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

from nllgen.storage.provenance import code_sha256

PARTS = (
    "commands",
    "launching",
    "supervision",
    "steps",
    "packing",
    "peers",
    "frechet",
    "metrics",
    "mnist",
    "logit_alpha",
    "learning",
    "nash",
    "memory",
    "budget",
    "growth",
    "container",
)
OF_TESTS = ("planted_faults", "coverage")
RESULTS = Path(__file__).with_name("results")


def processor() -> str:
    """Its model and what of its units counts here."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    units = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if re.search(rf"\b{flag}\b", cpuinfo)]
    return f"{model[1] if model else platform.processor()} ({', '.join(units)})"


def write(path: Path, head: str, rows: list[tuple[str, str, str]]) -> str:
    """Put a table into a file in place of the one that the same kind of processor had there; returns the table."""
    table = "\n".join(
        [head, "", "| work | measured | to reach |", "|---|---|---|", *(f"| {' | '.join(r)} |" for r in rows)]
    )
    old = path.read_text() if path.exists() else ""
    tables = [each.strip() for each in re.split(r"^(?=`python -m )", old, flags=re.M)]
    kept = [each for each in tables if each and processor() not in each.partition("\n")[0]]
    path.write_text("\n\n".join([table, *kept]) + "\n")
    return table


def main() -> None:
    """Measure and write."""
    RESULTS.mkdir(exist_ok=True)
    if sys.argv[1:2] and sys.argv[1] in OF_TESTS:
        importlib.import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:])
        return
    for part in sys.argv[1:] or PARTS:
        rows = importlib.import_module(f"benchmarks.{part}").rows()
        libraries = f"torch {torch.__version__}, Python {platform.python_version()}; code {code_sha256()[:12]}"
        machine = f"{processor()}, {len(os.sched_getaffinity(0))} cores"
        head = f"`python -m benchmarks {part}` on {datetime.now(UTC):%Y-%m-%d}, {machine}, {libraries}."
        print(write(RESULTS / f"{part}.md", head, rows), flush=True)


if __name__ == "__main__":
    main()
