"""How long the doors take to open."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GRID = """
name: many
truth: {data: {source: mnist}, flow: {width: 8, blocks: 1}, paradigm: {name: nll, steps: 100}, seed: 0}
dataset: {num_train: 1000000}
cells:
  - data: {source: synthetic, num_train: 100}
    degree: [U2, W]
    paradigm: {name: nll, steps: 100}
    seed: {range: [0, 5000]}
"""


def seconds(*words: str, rounds: int = 5) -> float:
    """Median wall time of ``nllgen`` with these words."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([Path(sys.executable).with_name("nllgen"), *words], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, reached for)."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NLLGEN_ROOT"] = folder
        grid = Path(folder) / "many.yaml"
        grid.write_text(GRID)
        return [
            ("nllgen --help", f"{seconds('--help'):.2f} s", "< 0.2 s"),
            ("nllgen plan, 10,000 cells", f"{seconds('plan', '--grid', str(grid)):.2f} s", "< 2 s"),
        ]
