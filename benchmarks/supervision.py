"""What a supervised run takes beside its training steps and its evaluations: leases, heartbeats, checkpoints, HDF5.

Two cells follow each other in one warm worker. From one result's appearance to the next lies all that a cell takes; its
own history says how much of that its steps and evaluations took.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from benchmarks.measure import run_nllgen
from nllgen.storage.result import read_result
from nllgen.storage.study_dir import StudyDir

GRID = """
name: supervised
metrics: {every: [], final: [], num_samples: 1000, num_train_eval: 1000}
cells:
  - data: {source: mnist}
    flow: {width: 16, blocks: 1}
    paradigm: {name: [PARADIGM], steps: STEPS, batch_size: 128, eval_every: STEPS}
    seed: [0, 1]
"""
STEPS = {"nll": 1_200, "nsgan": 1_000}  # three to five minutes on a core


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, reached for)."""
    found = []
    for paradigm, steps in STEPS.items():
        wall, trained, measured, others = _one(paradigm, steps)
        rest = wall - trained - measured
        what = f"{paradigm}, {steps:,} steps at 28×28, width 16, 1 block, one core: the second cell of a warm worker"
        found.append((what, f"{wall:.1f} s; steps {trained:.1f} s, evaluations {measured:.1f} s", "—"))
        found.append((f"{paradigm}: all else, a checkpoint included", f"{rest:.2f} s, {rest / wall:.2%}", "≤ 2 %"))
        found.append((f"{paradigm}: processor time of the supervisor meanwhile", f"{others / wall:.2%}", "—"))
    one, five, _ = os.getloadavg()
    return [*found, ("load of the machine meanwhile", f"{one:.1f} (1 min), {five:.1f} (5 min)", "2 supervised: 1")]


def _one(paradigm: str, steps: int) -> tuple[float, float, float, float]:
    """Seconds of the second cell: whole, of its steps, of its evaluations, of its supervisor's processor time."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "grid.yaml").write_text(GRID.replace("PARADIGM", paradigm).replace("STEPS", str(steps)))
        run_nllgen("submit", "--grid", root / "grid.yaml", "--local", "--workers", "1", "--root", root)
        folder = StudyDir(root / "supervised")
        paths = [folder.cell(cell.id).result for cell in folder.read_study().cells]
        begun = 0.0
        last = 0.0
        while not all(path.exists() for path in paths):
            last = _processor_s(str(folder.submitit)) or last
            begun = begun or (last if any(path.exists() for path in paths) else 0.0)
            time.sleep(1)
        first, second = sorted(paths, key=lambda path: path.stat().st_mtime_ns)
        result = read_result(second)
        wall = (second.stat().st_mtime_ns - first.stat().st_mtime_ns) / 1e9
        return (
            wall,
            float(result.history["time_s"][-1]),
            float(result.eval["time_s"].sum() + result.final["time_s"].sum()),
            last - begun,
        )


def _processor_s(word: str) -> float:
    """Processor time so far of the supervisors whose command line has a word, without their children's."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            line = stat.with_name("cmdline").read_bytes().decode(errors="replace")
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if word in line and "submitit" in line:
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total
