"""Start-up times of the commands, and their times for a study of ten thousand cells."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import measure_nllgen, run_nllgen
from benchmarks.studies import finish
from nllgen.storage.study_dir import StudyDir

Row = tuple[str, str, str]
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
# Programs of Slurm that only print: the rest of the time is nllgen's and submitit's.
SLURM_STUBS = {
    "sbatch": "echo Submitted batch job $$",
    "squeue": "",
    "scontrol": "echo MaxArraySize = 10001",
    "sacct": "",
    "srun": "",
}
PROFILE = "partition: short\ntime_min: 10\nmemory_gb: 1.5\ncpus: 1\n"
SUBMITIT = """
import sys, submitit
executor = submitit.SlurmExecutor(folder=sys.argv[1])
executor.update_parameters(array_parallelism=256)
executor.map_array(abs, range(10000))
"""
NLLGEN = str(Path(sys.executable).with_name("nllgen"))
# name → command line and goal; measured in turns
STARTS: dict[str, tuple[list[str], str]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], "—"),
    "nllgen --help": ([NLLGEN, "--help"], "< 0.2 s"),
    "nllgen submit --help": ([NLLGEN, "submit", "--help"], "< 0.2 s"),
}


def rows() -> list[Row]:
    """Return rows of (work, measured, goal)."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.environ["NLLGEN_ROOT"] = name
        os.environ.pop("NLLGEN_PROFILE", None)
        grid, profile = root / "many.yaml", root / "bench.yaml"
        grid.write_text(GRID)
        profile.write_text(PROFILE)
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{_slurm_stubs(root / 'bin')}{os.pathsep}{path}"
        try:
            return [*_starts(), *_of_many_cells(grid, profile, StudyDir(root / "many"), root / "bare"), _load()]
        finally:
            os.environ["PATH"] = path


def _starts(rounds: int = 11) -> list[Row]:
    """Measure the start-up commands in turns, so that all see the same load."""
    times: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(rounds):
        for name, (words, _) in STARTS.items():
            times[name].append(_seconds(words))
    return [(name, f"{statistics.median(times[name]):.3f} s", goal) for name, (_, goal) in STARTS.items()]


def _seconds(words: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def median_seconds(*words: str, rounds: int = 5) -> float:
    """Return the median wall time of ``nllgen`` with these words."""
    return statistics.median(_seconds([NLLGEN, *words]) for _ in range(rounds))


def _slurm_stubs(directory: Path) -> Path:
    directory.mkdir()
    for name, line in SLURM_STUBS.items():
        (directory / name).write_text(f"#!/bin/sh\n{line}\n")
        (directory / name).chmod(0o755)
    return directory


def _of_many_cells(grid: Path, profile: Path, study_dir: StudyDir, bare: Path) -> list[Row]:
    seconds = median_seconds("plan", "--grid", str(grid))
    table = [("nllgen plan, 10,000 cells, none finished", f"{seconds:.2f} s", "≤ 1 s")]
    seconds, num = _submit(grid, profile, study_dir)
    table.append(("nllgen submit, 10,000 cells, sbatch is a stub", f"{seconds:.2f} s, {num:,} files", "≤ 3 s"))
    seconds, num = _bare_map_array(bare)
    table.append(("submitit's map_array of 10,000 calls, same stub", f"{seconds:.2f} s, {num:,} files", "—"))
    finish(study_dir.read_study().cells, study_dir)
    seconds = median_seconds("status", str(study_dir.path))
    table.append(("nllgen status, 10,000 finished cells", f"{seconds:.2f} s", "≤ 1 s"))
    usage = measure_nllgen("collect", study_dir.path, "--allow-missing")  # without the truth and its data set
    table.append(("nllgen collect, 10,000 results", str(usage), "≤ 10 s, ≤ 1 GB"))
    return table


def _submit(grid: Path, profile: Path, study_dir: StudyDir) -> tuple[float, int]:
    """Return the seconds of ``submit`` and the number of new files, without the copy of the program."""
    started = time.perf_counter()
    run_nllgen("submit", "--grid", grid, "--profile", profile)
    return time.perf_counter() - started, _num_files(study_dir.path) - _num_files(study_dir.code)


def _bare_map_array(directory: Path) -> tuple[float, int]:
    seconds = _seconds([sys.executable, "-c", SUBMITIT, str(directory)])
    return seconds, _num_files(directory)


def _num_files(directory: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(directory))


def _load() -> Row:
    one, five, _ = os.getloadavg()
    return ("load of the machine meanwhile", f"{one:.1f} (1 min), {five:.1f} (5 min)", "idle: < 1")
