"""How long the commands take to open, and what they take for ten thousand cells."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.dummy_worker import small_result
from benchmarks.measure import run_nllgen, spend
from nllgen.storage.result import write_result
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Cell

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
# stand-ins that only print: what is left is the project's own time and submitit's
STANDINS = {
    "sbatch": "echo Submitted batch job $$",
    "squeue": "",
    "scontrol": "echo MaxArraySize = 10001",
    "sacct": "",
    "srun": "",
}
PROFILE = "partition: short\ntime_min: 10\nmemory_gb: 1.5\ncpus: 1\n"
BARE = """
import sys, submitit
executor = submitit.SlurmExecutor(folder=sys.argv[1])
executor.update_parameters(array_parallelism=256)
executor.map_array(abs, range(10000))
"""


def seconds(*words: str, rounds: int = 5) -> float:
    """Median wall time of ``nllgen`` with these words."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        run_nllgen(*words)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _stand_ins(folder: Path) -> None:
    """Put them first on PATH."""
    folder.mkdir()
    for name, line in STANDINS.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def _num_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def _submitted(grid: Path, profile: Path, folder: StudyDir) -> tuple[float, int]:
    """Seconds of a submission, and files that it makes beside the study's copy of the program."""
    took = seconds("submit", "--grid", str(grid), "--profile", str(profile), rounds=1)
    return took, _num_files(folder.path) - _num_files(folder.code)


def _bare_map_array(folder: Path) -> tuple[float, int]:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", BARE, str(folder)], check=True)
    return time.perf_counter() - started, _num_files(folder)


def finish(cell: Cell, folder: StudyDir) -> None:
    """What a cell leaves behind: a small real result, its log and its attempts."""
    task = folder.cell(cell.id)
    task.path.mkdir(parents=True)
    task.log.write_text("100/100\n")
    task.attempts.write_text('{"event": "started", "attempt": "1-a"}\n{"event": "done", "attempt": "1-a"}\n')
    write_result(task.result, small_result(cell), "1-a", lambda: None)


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, reached for)."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.environ["NLLGEN_ROOT"] = name
        os.environ.pop("NLLGEN_PROFILE", None)
        grid, profile = root / "many.yaml", root / "bench.yaml"
        grid.write_text(GRID)
        profile.write_text(PROFILE)
        path = os.environ["PATH"]
        _stand_ins(root / "bin")
        try:
            return [*_rows(grid, profile, StudyDir(root / "many"), root / "bare"), _load()]
        finally:
            os.environ["PATH"] = path


def _rows(grid: Path, profile: Path, folder: StudyDir, bare: Path) -> list[tuple[str, str, str]]:
    found = [
        ("nllgen --help", f"{seconds('--help'):.2f} s", "< 0.2 s"),
        ("nllgen plan, 10,000 cells", f"{seconds('plan', '--grid', str(grid)):.2f} s", "< 2 s"),
    ]
    took, num = _submitted(grid, profile, folder)
    found.append(("nllgen submit, 10,000 cells, sbatch is a stand-in", f"{took:.2f} s, {num:,} files", "≤ 3 s"))
    took, num = _bare_map_array(bare)
    found.append(("submitit's bare map_array of 10,000, same stand-in", f"{took:.2f} s, {num:,} files", "—"))
    for cell in folder.read_study().cells:
        finish(cell, folder)
    found.append(("nllgen status, 10,000 finished cells", f"{seconds('status', str(folder.path)):.2f} s", "≤ 2 s"))
    spent = spend("collect", folder.path, "--allow-missing")  # its truth and data set were not made
    found.append(("nllgen collect, 10,000 results", str(spent), "≤ 10 s, ≤ 1 GB"))
    return found


def _load() -> tuple[str, str, str]:
    one, five, _ = os.getloadavg()
    return ("load of the machine meanwhile", f"{one:.1f} (1 min), {five:.1f} (5 min)", "quiet: < 1")
