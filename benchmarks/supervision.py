"""The overhead of supervision beside training steps and evaluations: leases, heartbeats, checkpoints, HDF5.

Two cells run one after the other in a warm worker. The time between their results is the whole time of the second cell;
its tables have the part that its steps and evaluations took.
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
    """Return rows of (work, measured, goal)."""
    table = []
    for paradigm, steps in STEPS.items():
        wall, trained, measured, others = _one(paradigm, steps)
        rest = wall - trained - measured
        what = f"{paradigm}, {steps:,} steps at 28×28, width 16, 1 block, one core: the second cell of a warm worker"
        table.append((what, f"{wall:.1f} s; steps {trained:.1f} s, evaluations {measured:.1f} s", "—"))
        table.append((f"{paradigm}: all else, a checkpoint included", f"{rest:.2f} s, {rest / wall:.2%}", "≤ 2 %"))
        table.append((f"{paradigm}: processor time of the supervisor meanwhile", f"{others / wall:.2%}", "—"))
    one, five, _ = os.getloadavg()
    return [*table, ("load of the machine meanwhile", f"{one:.1f} (1 min), {five:.1f} (5 min)", "2 supervised: 1")]


def _one(paradigm: str, steps: int) -> tuple[float, float, float, float]:
    """Return seconds of the second cell: in total, of steps, of evaluations, and its supervisor's processor time."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "grid.yaml").write_text(GRID.replace("PARADIGM", paradigm).replace("STEPS", str(steps)))
        run_nllgen("submit", "--grid", root / "grid.yaml", "--local", "--workers", "1", "--root", root)
        study_dir = StudyDir(root / "supervised")
        paths = [study_dir.cell(cell.id).result for cell in study_dir.read_study().cells]
        begun = 0.0
        last = 0.0
        while not all(path.exists() for path in paths):
            last = _processor_s(str(study_dir.submitit)) or last
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
    """Return the processor time so far of supervisors with a word on their command line, without their children."""
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
