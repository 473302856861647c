"""A study that a benchmark runs for what comes out of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.measure import run_nllgen
from nllgen.storage.result import Result, read_result
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Cell


def run_study(grid: str) -> list[tuple[Cell, Result]]:
    """Run a study of YAML text on this machine, a cell a core; its cells, each with its result."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "grid.yaml").write_text(grid)
        run_nllgen("submit", "--grid", root / "grid.yaml", "--local", "--wait", "--root", root / "runs")
        (folder,) = map(StudyDir, (root / "runs").iterdir())
        return [(cell, read_result(folder.cell(cell.id).result)) for cell in folder.read_study().cells]
