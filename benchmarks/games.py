"""Adversarial training of a Real NVP on MNIST at 14×14: which settings cover the digits within minutes of one core.

``NLLGEN_GAMES_ROOT`` keeps the study, so that an interrupted run goes on; by default it is removed at the end.
"""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

from benchmarks.measure import run_nllgen
from nllgen.storage.result import Result, read_result
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Cell

Row = tuple[str, str, str]
GRID = """
name: games
metrics:
  every: [frechet, prdc]
  final: [frechet, prdc]
  num_samples: 2000
  num_samples_every: 1000
  num_train_eval: 500
  num_kept: 100
resources: {time_min: 60, memory_gb: 2, cpus: 1, gpus: 0}
cells:
  - data: &mnist {source: mnist, image_size: 14, alpha: 1e-4, num_val: 2000, num_test: 2000}
    flow: {width: 16, blocks: 2}
    precision: fp32
    paradigm: {name: nsgan, GAME}
    seed: 0
    include:
      - {paradigm.pixel_leak: 0.0}
      - {paradigm.r1_gamma: 1.0}
      - {paradigm.r1_gamma: 1.0, paradigm.pixel_leak: 0.0}
      - {paradigm.r1_gamma: 10.0}
      - {paradigm.r1_gamma: 1.0, paradigm.lr: 2e-4}
      - {paradigm.instance_noise: 0.1}
      - {paradigm.spectral_norm: true, paradigm.disc_start: fresh}
  - data: *mnist
    flow: {width: 16, blocks: 2}
    precision: fp32
    paradigm: {name: r3gan, GAME}
    seed: 0
  - data: *mnist
    flow: {width: 16, blocks: 2, coupling: additive}
    precision: fp32
    paradigm: {name: nsgan, r1_gamma: 1.0, GAME}
    seed: 0
  - data: *mnist
    flow: {width: 16, blocks: 2}
    precision: fp32
    paradigm: {name: nsgan, r1_gamma: 10.0, LONG}
    seed: 0
    include: [{paradigm.lr: 2e-4, paradigm.disc_lr: 2e-4}]
  - data: *mnist
    flow: {width: 16, blocks: 2}
    precision: fp32
    paradigm: {name: r3gan, r1_gamma: 10.0, r2_gamma: 10.0, LONG}
    seed: 0
  - data: *mnist
    flow: {width: 16, blocks: 2, coupling: additive}
    precision: fp32
    paradigm: {name: nsgan, r1_gamma: 10.0, LONG}
    seed: 0
  - data: *mnist
    dcgan: {width: 16}
    precision: fp32
    paradigm: {name: nsgan, r1_gamma: 1.0, GAME}
    seed: 0
  - data: *mnist
    dcgan: {width: 16}
    precision: fp32
    paradigm: {name: nsgan, r1_gamma: 10.0, LONG}
    seed: 0
    include: [{paradigm.lr: 2e-4, paradigm.disc_lr: 2e-4}]
""".replace("LONG", "steps: 4800, eval_every: 1200, REST").replace("GAME", "steps: 1600, eval_every: 400, REST")
GRID = GRID.replace("REST", "batch_size: 64, disc_width: 16, ema_decay: 0.99, lr: 1e-4, disc_lr: 1e-4")
GOAL = "recall ≥ 0.5 of its floor, distance ≤ 3 × DCGAN's"
_SHOWN = ("r1_gamma", "pixel_leak", "lr", "instance_noise", "spectral_norm")


def rows() -> list[Row]:
    """Return rows of (setting, measured, goal), of the better of the last and the averaged weights on test images."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(os.environ.get("NLLGEN_GAMES_ROOT", name))
        grid = root / "games.yaml"
        grid.write_text(GRID)
        run_nllgen("submit", "--grid", grid, "--root", root, "--local", "--workers", "1", "--wait")
        study_dir = StudyDir(root / "games")
        results = {cell: read_result(study_dir.cell(cell.id).result) for cell in study_dir.read_study().cells}
    controls: dict[int, list[float]] = {}  # of as many steps
    for cell, result in results.items():
        if cell.dcgan:
            controls.setdefault(cell.paradigm.steps, []).append(_best(result)["frechet_lenet"])
    return [_row(cell, result, min(controls[cell.paradigm.steps])) for cell, result in results.items()]


def _best(result: Result) -> dict[str, float]:
    """Return the final metrics of the last or the averaged weights, by their Fréchet distance."""
    final = result.final
    candidates = [row for row, weights in enumerate(final["weights"]) if weights != "best"]
    row = min(candidates, key=lambda row: float(final["frechet_lenet"][row]))
    return {name: float(column[row]) for name, column in final.items() if name != "weights"}


def _row(cell: Cell, result: Result, control: float) -> Row:
    best, raw = _best(result), result.eval["weights"] == "raw"
    ratio, recall = best["frechet_lenet"] / control, best["recall_lenet"] / best["recall_floor_lenet"]
    shown = [f"{name} {getattr(cell.paradigm, name)}" for name in _SHOWN if getattr(cell.paradigm, name)]
    model = "DCGAN" if cell.dcgan else f"{cell.real_nvp.coupling} flow"
    minutes = cell.paradigm.steps * float(result.attrs["seconds_per_step"]) / 60
    dead = result.attrs["dead_step"]
    texts = [
        f"distance {best['frechet_lenet']:.0f}, {ratio:.1f} × DCGAN's",
        f"recall {recall:.2f} of its floor",
        f"generator's gradient at the end {result.eval['gen_grad_norm'][raw][-1]:.2g}",
        f"saturated {result.eval['saturated_share'][raw][-1]:.0%}",
        f"{minutes:.1f} min",
        *([f"dead since step {dead:.0f}"] if math.isfinite(dead) else []),
    ]
    answer = "yes" if recall >= 0.5 and ratio <= 3 else "no"
    setting = f"{model}, {cell.paradigm.name}, {cell.paradigm.steps:,} steps, {', '.join(shown)}"
    return setting, "; ".join(texts), f"{GOAL}: {answer}"
