"""Peak memory of real runs beside what ``nllgen plan`` says they will take."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from nllgen.study.cost import cell_cost
from nllgen.study.grid import parse_study

GRID = """
name: memory
metrics: {every: [], final: [], num_samples: 500, num_train_eval: 500}
cells:
  - data: {source: mnist, image_size: SIZE, num_val: 500, num_test: 500}
    flow: {width: WIDTH, blocks: BLOCKS}
    paradigm: {name: NAME, steps: 3, batch_size: BATCH}
    precision: PRECISION
"""
# (paradigm, image size, width, blocks, batch, precision)
RUNS: tuple[tuple[Any, ...], ...] = (
    ("nll", 14, 8, 1, 128, "fp32"),
    ("nll", 14, 32, 2, 128, "fp32"),
    ("nll", 28, 16, 1, 128, "fp32"),
    ("nll", 28, 32, 2, 64, "fp32"),
    ("nll", 28, 32, 2, 128, "fp32"),
    ("nll", 28, 32, 4, 128, "fp32"),
    ("nll", 28, 64, 4, 64, "fp32"),
    ("nll", 28, 64, 4, 8, "fp32"),
    ("nll", 28, 32, 2, 128, "bf16"),
    ("nll", 28, 64, 4, 64, "bf16"),
    ("nsgan", 14, 16, 2, 128, "fp32"),
    ("nsgan", 28, 32, 2, 128, "fp32"),
    ("nsgan", 28, 32, 2, 128, "bf16"),
    ("wgan_gp", 28, 16, 1, 128, "fp32"),
    ("hybrid", 28, 32, 2, 64, "fp32"),
)


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, reached for)."""
    found = []
    for run in RUNS:
        said, used = said_and_used(*run)
        name, size, width, blocks, batch, precision = run
        what = f"{name}, {size}×{size}, width {width}, {blocks} blocks, batch {batch}, {precision}"
        found.append((what, f"{used:.2f} GB; plan says {said:.2f} GB, {said / used - 1:+.0%}", "within 20 %"))
    return found


def said_and_used(name: str, size: int, width: int, blocks: int, batch: int, precision: str) -> tuple[float, float]:
    """Gigabytes by the plan, and the largest resident set of the run's processes."""
    values = {"NAME": name, "SIZE": size, "WIDTH": width, "BLOCKS": blocks, "BATCH": batch, "PRECISION": precision}
    text = GRID
    for key, value in values.items():
        text = text.replace(key, str(value))
    study = parse_study(text, "memory", precision="fp32")
    with tempfile.TemporaryDirectory() as root:
        grid = Path(root) / "memory.yaml"
        grid.write_text(text)
        nllgen = Path(sys.executable).with_name("nllgen")
        command = [str(nllgen), "run", "--grid", str(grid), "--root", root, "--cell", study.cells[0].id]
        child = subprocess.Popen([*command, "--threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}")
    return cell_cost(study.cells[0], study).memory_gb, usage.ru_maxrss * 1024 / 1e9
