"""A thousand cells that sleep one second, on eight slots of a real Slurm: which part of the slots' time is theirs?"""

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

NUM_CELLS, SLOTS = 1_000, 8
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
    """(what, measured, reached for). Needs SLURM_CONF of a running cluster with eight free processors."""
    os.environ["PYTHONPATH"] = str(CHECKOUT)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        study = parse_study(GRID, "sleepers", precision="fp32")
        folder, frozen, _ = freeze(study, Path(name))
        program = (sys.executable, "-m", "benchmarks.dummy_worker")
        setup = WorkerConfig(RunOptions(Path(name) / "assets"), program=program)
        profile = parse_profile(PROFILE, "p")
        submit(SubmissionRequest(folder, frozen, profile, setup, ArrayShape(workers=SLOTS)), Finalizer)
        while query_live_jobs(folder, frozen.name).tasks:
            time.sleep(2)
        done = [path.stat().st_mtime for path in folder.path.glob("cells/*/result.h5")]
        begun = min(path.stat().st_mtime for path in (folder.path / "submitit").glob("*/*_submitted.pkl"))
        first = min(path.stat().st_ctime for path in (folder.path / "submitit").glob("*/*_log.out"))
        wall = max(done) - min(begun, first)
        used = len(done) * CELL_S / (SLOTS * wall)
        files = sum(len(found) for _, _, found in os.walk(folder.path / "cells"))
    one, five, _ = os.getloadavg()
    return [
        (f"{len(done):,} cells of {CELL_S:.0f} s on {SLOTS} slots, --workers {SLOTS}", f"{wall:.1f} s", "—"),
        ("slots' time spent in cells, from the first job's start to the last result", f"{used:.1%}", "≥ 90 %"),
        ("files a finished cell, without logs and weights of real training", f"{files / len(done):.1f}", "≤ 6"),
        ("load of the machine meanwhile", f"{one:.1f} (1 min), {five:.1f} (5 min)", "quiet: < 1"),
    ]
