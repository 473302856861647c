"""Time and memory as a study grows: batch, width, size of an image, images of a training set, number of cells."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.commands import finish
from benchmarks.measure import spend
from benchmarks.memory import Run, use
from nllgen.launch.freeze import freeze
from nllgen.study.load import parse_study

Row = tuple[str, str, str]
SMALL = Run("nll", size=14, width=16, blocks=2, batch=128, precision="fp32", steps=12)
GROWN: dict[str, tuple[int, ...]] = {
    "batch": (32, 64, 128, 256, 512),
    "width": (8, 16, 32, 64),
    "size": (14, 28),
    "num_train": (1_000, 10_000, 50_000),
}
CELLS = (1, 100, 1_000, 10_000)
STUDY = """
name: many
truth: {data: {source: mnist}, flow: {width: 8, blocks: 1}, paradigm: {name: nll, steps: 100}, seed: 0}
dataset: {num_train: 1000000}
cells:
  - data: {source: synthetic, num_train: [NUM_TRAIN]}
    degree: W
    paradigm: {name: nll, steps: 100}
    seed: {range: [0, SEEDS]}
"""
SIZES = 10  # of training sets, where there are so many cells
MOST_REPORTED = 1_000


def rows() -> list[Row]:
    """(what, measured, reached for)."""
    found = []
    for name, values in GROWN.items():
        for value in values:
            change: dict[str, Any] = {name: value}
            used = use(replace(SMALL, **change))
            found.append((f"a step, {name} {value:,}", f"{used.seconds_per_step * 1e3:.0f} ms, {used.gb:.2f} GB", ""))
    for num in CELLS:
        found += _commands(num)
    return found


def _commands(num: int) -> list[Row]:
    """Seconds and gigabytes of what looks at a whole study of finished cells."""
    with tempfile.TemporaryDirectory() as name:
        sizes = [100 * (i + 1) for i in range(min(SIZES, num))]
        text = STUDY.replace("NUM_TRAIN", str(sizes)[1:-1]).replace("SEEDS", str(num // len(sizes)))
        grid = Path(name) / "many.yaml"
        grid.write_text(text)
        folder, study, _ = freeze(parse_study(text, "many", precision="fp32"), Path(name))
        for cell in study.cells:
            finish(cell, folder)
        study_file = folder.path / "study.h5"
        commands: dict[str, list[str | Path]] = {
            "plan": ["plan", "--grid", grid],
            "status": ["status", folder.path],
            "collect": ["collect", folder.path, "--allow-missing"],
            "report": ["report", study_file, "--out", Path(name) / "report"],
        }
        goals = {("collect", 10_000): "≤ 10 s, ≤ 1 GB", ("report", 1_000): "≤ 60 s"}
        found = []
        for command, words in commands.items():
            if command == "report" and num > MOST_REPORTED:
                continue
            spent = spend(*words)
            found.append((f"{command}, {num:,} finished cells", str(spent), goals.get((command, num), "")))
        return found
