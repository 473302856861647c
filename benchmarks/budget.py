"""Costs that ``plan`` predicts, beside the measured costs of the same study: the demo, run on this machine."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.measure import run_nllgen
from nllgen.launch.calibrate import calibrate
from nllgen.planning.cost import cell_cost
from nllgen.planning.plan import make_plan
from nllgen.storage.result import read_result
from nllgen.storage.study_dir import StudyDir


def rows() -> list[tuple[str, str, str]]:
    """Return rows of (work, measured, goal)."""
    with tempfile.TemporaryDirectory() as root:
        begin = time.monotonic()
        run_nllgen("submit", "--grid", "demo", "--local", "--wait", "--workers", "2", "--root", root)
        wall = time.monotonic() - begin
        study_dir = StudyDir(Path(root) / "demo")
        return [*_runs(study_dir), _whole(study_dir, wall)]


def _runs(study_dir: StudyDir) -> list[tuple[str, str, str]]:
    """Return core-seconds of the steps and evaluations of each run; two run at a time, on a core each."""
    study, calibration = study_dir.read_study(), calibrate(print).values
    table = []
    for cell in study.cells:
        result, cost = read_result(study_dir.cell(cell.id).result), cell_cost(cell, study, calibration)
        steps = float(result.history["time_s"].max(initial=0.0))
        evaluations = float(result.eval["time_s"].sum() + result.final["time_s"].sum())
        planned = cost.seconds_per_step * cell.paradigm.steps + cost.prepare_seconds
        text = (
            f"steps {steps:.1f} s (plan {planned:.1f}), evaluations {evaluations:.1f} s (plan {cost.eval_seconds:.1f})"
        )
        table.append((cell.label, text, ""))
    return table


def _whole(study_dir: StudyDir, wall: float) -> tuple[str, str, str]:
    planned = make_plan(study_dir.read_study(), {}, cores=2, calibration=calibrate(print)).wall_seconds
    return (
        "the whole study on 2 cores, with the starts of its processes",
        f"{wall:.0f} s; plan {planned:.0f} s, {planned / wall - 1:+.0%}",
        "—",
    )
