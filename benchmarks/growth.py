"""Time and memory as a study grows: batch, width, image size, training images, number of cells."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import measure_nllgen
from benchmarks.memory import Run, use
from benchmarks.studies import finish
from nllgen.launch.freeze import freeze
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Cell
from nllgen.study.hardware import auto_precision
from nllgen.study.load import parse_study

Row = tuple[str, str, str]
SMALL = Run("nll", size=14, width=16, blocks=2, batch=128, precision="fp32", steps=12)
GROWN: dict[str, tuple[int, ...]] = {
    "batch": (32, 64, 128, 256, 512),
    "width": (8, 16, 32, 64),
    "size": (14, 28),
    "num_train": (1_000, 10_000, 50_000),
}
NUM_CELLS = (1, 100, 1_000, 10_000)
STUDY = """
name: many
truth: {data: {source: mnist}, flow: {width: 8, blocks: 1}, paradigm: {name: nll, steps: 100}, seed: 0}
dataset: {num_train: 1000000}
cells:
  - data: {source: synthetic, num_train: [NUM_TRAIN]}
    degree: W
    precision: fp32
    paradigm: {name: nll, steps: 100}
    seed: {range: [0, SEEDS]}
"""
NUM_SIZES = 10  # training set sizes, in studies with at least so many cells
NUM_NEW = 10  # results of the second collection, in studies with more cells
MAX_REPORTED = 1_000
GOALS = {
    ("plan", 10_000): "≤ 1 s",
    ("status", 10_000): "≤ 1 s",
    ("collect", 10_000): "≤ 10 s, ≤ 1 GB",
    ("collect again", 10_000): "≤ 2 s",
    ("report", 1_000): "≤ 60 s",
}


def rows() -> list[Row]:
    """Return rows of (work, measured, goal)."""
    table = []
    for name, values in GROWN.items():
        for value in values:
            change: dict[str, Any] = {name: value}
            used = use(replace(SMALL, **change))
            table.append((f"a step, {name} {value:,}", f"{used.seconds_per_step * 1e3:.0f} ms, {used.gb:.2f} GB", ""))
    for num in NUM_CELLS:
        table += _commands(num)
    return table


def _commands(num: int) -> list[Row]:
    """Measure the commands that read a whole study of ``num`` finished cells."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        path = root / "many.yaml"
        path.write_text(grid(num))
        study_dir, study, _ = freeze(parse_study(grid(num), "many", precision=auto_precision()), root)
        table = _collections(study_dir, study.cells)
        table.append(_row("plan", f"{num:,} finished cells", num, "--grid", path, "--root", root))
        table.append(_row("status", f"{num:,} finished cells", num, study_dir.path))
        if num <= MAX_REPORTED:
            words = (study_dir.path / "study.h5", "--out", root / "report")
            table.append(_row("report", f"{num:,} finished cells", num, *words))
        return table


def grid(num: int) -> str:
    """Return a grid of ``num`` cells, a multiple of ten above ten."""
    sizes = [100 * (i + 1) for i in range(min(NUM_SIZES, num))]
    return STUDY.replace("NUM_TRAIN", str(sizes)[1:-1]).replace("SEEDS", str(num // len(sizes)))


def _collections(study_dir: StudyDir, cells: tuple[Cell, ...]) -> list[Row]:
    """Finish the cells and measure two collections: of all results but the last ten, and after these ten were added.

    The truth and its data set are missing, so that both run with ``--allow-missing``.
    """
    num = len(cells)
    num_new = NUM_NEW if num > NUM_NEW else 0
    finish(cells[: num - num_new], study_dir)
    words = (study_dir.path, "--allow-missing")
    table = [_row("collect", f"first time, {num - num_new:,} of {num:,} cells finished", num, *words)]
    if num_new:
        finish(cells[num - num_new :], study_dir)
        usage = measure_nllgen("collect", *words)
        goal = GOALS.get(("collect again", num), "")
        table.append((f"collect, second time, {num_new} new of {num:,}", str(usage), goal))
    return table


def _row(command: str, state: str, num: int, *words: str | Path) -> Row:
    return f"{command}, {state}", str(measure_nllgen(command, *words)), GOALS.get((command, num), "")
