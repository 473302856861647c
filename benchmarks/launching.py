"""The launcher's share of time: a thousand cells that sleep one second, on eight workers of a real Slurm."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.dummy_worker import CELL_S
from nllgen.launch.freeze import freeze
from nllgen.launch.profile import parse_profile
from nllgen.launch.slurm.arrays import ArrayShape
from nllgen.launch.slurm.finalize import Finalizer
from nllgen.launch.slurm.live_jobs import query_live_jobs
from nllgen.launch.slurm.submission import SubmissionRequest, submit
from nllgen.launch.worker_process import WorkerConfig
from nllgen.study.load import parse_study
from nllgen.study.run_options import RunOptions

NUM_CELLS, NUM_WORKERS = 1_000, 8
GRID = f"""
name: sleepers
cells:
  - data: {{source: mnist, image_size: 7, num_val: 50, num_test: 50}}
    flow: {{width: 2, blocks: 0, scales: 1}}
    paradigm: {{name: nll, steps: 1, batch_size: 16}}
    seed: {{range: [0, {NUM_CELLS}]}}
"""
PROFILE = "partition: short\ntime_min: 10\nmemory_gb: 0.9\ncpus: 1\nsignal_s: 30\n"
CHECKOUT = Path(__file__).parents[1]


def rows() -> list[tuple[str, str, str]]:
    """Return rows of (work, measured, goal).

    SLURM_CONF must name a running cluster with eight free processors.
    """
    os.environ["PYTHONPATH"] = str(CHECKOUT)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        study = parse_study(GRID, "sleepers", precision="fp32")
        study_dir, frozen, _ = freeze(study, Path(name))
        program = (sys.executable, "-m", "benchmarks.dummy_worker")
        config = WorkerConfig(RunOptions(Path(name) / "assets"), program=program)
        profile = parse_profile(PROFILE, "p")
        submit(SubmissionRequest(study_dir, frozen, profile, config, ArrayShape(workers=NUM_WORKERS)), Finalizer)
        while query_live_jobs(study_dir, frozen.name).tasks:
            time.sleep(2)
        done = [path.stat().st_mtime for path in study_dir.path.glob("cells/*/result.h5")]
        begun = min(path.stat().st_mtime for path in (study_dir.path / "submitit").glob("*/*_submitted.pkl"))
        first = min(path.stat().st_ctime for path in (study_dir.path / "submitit").glob("*/*_log.out"))
        wall = max(done) - min(begun, first)
        used = len(done) * CELL_S / (NUM_WORKERS * wall)
        files = sum(len(names) for _, _, names in os.walk(study_dir.path / "cells"))
    one, five, _ = os.getloadavg()
    return [
        (f"{len(done):,} cells of {CELL_S:.0f} s --workers {NUM_WORKERS}", f"{wall:.1f} s", "—"),
        ("workers' time spent in cells, from the first job's start to the last result", f"{used:.1%}", "≥ 90 %"),
        ("files a finished cell, without logs and weights of real training", f"{files / len(done):.1f}", "≤ 6"),
        ("load of the machine meanwhile", f"{one:.1f} (1 min), {five:.1f} (5 min)", "idle: < 1"),
    ]
