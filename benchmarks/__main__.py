"""Run all benchmarks of ``PARTS``, or those named, as in ``python -m benchmarks commands steps``.

``results/PART.md`` has a table for each kind of processor, the latest first. ``soak``, ``kills`` and ``minutes``
run by name only: they take hours. So does ``gpu``, which needs a CUDA device. ``planted_faults`` and ``coverage``
measure the tests and have their own options: ``python -m benchmarks coverage --help`` lists them.
"""

from __future__ import annotations

import importlib
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from nllgen.errors import NllgenError
from nllgen.storage.provenance import code_sha256
from nllgen.study.hardware import num_cores

PARTS = (
    "commands",
    "launching",
    "supervision",
    "steps",
    "packing",
    "peers",
    "avx2",
    "frechet",
    "metrics",
    "mnist",
    "logit_alpha",
    "learning",
    "games",
    "nash",
    "memory",
    "budget",
    "growth",
    "container",
    "power",
)
OF_TESTS = ("planted_faults", "coverage")
OF_GPUS = ("gpu",)
RESULTS = Path(__file__).with_name("results")


def processor() -> str:
    """Return the model of the processor and its units for vectors and matrices."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    units = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if re.search(rf"\b{flag}\b", cpuinfo)]
    return f"{model[1] if model else platform.processor()} ({', '.join(units)})"


def write(path: Path, head: str, rows: list[tuple[str, str, str]], machine: str = "") -> str:
    """Write a table to a file in place of the one of the same machine: by default, the same kind of processor."""
    table = "\n".join(
        [head, "", "| work | measured | goal |", "|---|---|---|", *(f"| {' | '.join(r)} |" for r in rows)]
    )
    old = path.read_text() if path.exists() else ""
    tables = [each.strip() for each in re.split(r"^(?=`python -m )", old, flags=re.M)]
    kept = [each for each in tables if each and (machine or processor()) not in each.partition("\n")[0]]
    path.write_text("\n\n".join([table, *kept]) + "\n")
    return table


def main() -> None:
    """Run the benchmarks and write their tables."""
    RESULTS.mkdir(exist_ok=True)
    if sys.argv[1:2] and sys.argv[1] in OF_TESTS:
        importlib.import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:])
        return
    for part in sys.argv[1:] or PARTS:
        try:
            _measure(part)
        except NllgenError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)


def _measure(part: str) -> None:
    """Run a benchmark, and write and print its table."""
    module = importlib.import_module(f"benchmarks.{part}")
    rows, gpu = module.rows(), module.machine() if part in OF_GPUS else ""
    libraries = f"torch {torch.__version__}, Python {platform.python_version()}; code {code_sha256()[:12]}"
    machine = ", ".join(filter(None, [gpu, processor(), f"{num_cores()} cores"]))
    head = f"`python -m benchmarks {part}` on {datetime.now(UTC):%Y-%m-%d}, {machine}, {libraries}."
    print(write(RESULTS / f"{part}.md", head, rows, gpu), flush=True)


if __name__ == "__main__":
    main()
