"""What ``plan`` says that a study costs, beside what the same study took: the demo, run here."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.measure import run_nllgen
from nllgen.planning.cost import cell_cost
from nllgen.planning.plan import make_plan
from nllgen.storage.result import read_result
from nllgen.storage.study_dir import StudyDir


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, reached for)."""
    with tempfile.TemporaryDirectory() as root:
        begin = time.monotonic()
        run_nllgen("submit", "--grid", "demo", "--local", "--wait", "--workers", "2", "--root", root)
        wall = time.monotonic() - begin
        return [*_runs(StudyDir(Path(root) / "demo")), _whole(StudyDir(Path(root) / "demo"), wall)]


def _runs(folder: StudyDir) -> list[tuple[str, str, str]]:
    """Steps and evaluations of each run, in core-seconds: two run at a time, each on a core."""
    study = folder.read_study()
    found = []
    for cell in study.cells:
        result, said = read_result(folder.cell(cell.id).result), cell_cost(cell, study)
        steps = float(result.history["time_s"].max(initial=0.0))
        evaluations = float(result.eval["time_s"].sum() + result.final["time_s"].sum())
        planned = said.seconds_per_step * cell.paradigm.steps + said.prepare_seconds
        text = (
            f"steps {steps:.1f} s (plan {planned:.1f}), evaluations {evaluations:.1f} s (plan {said.eval_seconds:.1f})"
        )
        found.append((cell.label, text, ""))
    return found


def _whole(folder: StudyDir, wall: float) -> tuple[str, str, str]:
    said = make_plan(folder.read_study(), {}, cores=2).wall_seconds
    return (
        "the whole study on 2 cores, starts and all",
        f"{wall:.0f} s; plan {said:.0f} s, {said / wall - 1:+.0%}",
        "—",
    )
