"""Bits per dimension after four epochs of real MNIST through the real worker."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from nllgen.assets import asset_folder
from nllgen.launch.freeze import freeze
from nllgen.storage.result import read_result
from nllgen.study.hardware import auto_precision
from nllgen.study.load import parse_study
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.worker.setup import enter

GRID = """
name: four-epochs
metrics: {frechet: [lenet], num_samples: 5000}
cells:
  - data: {source: mnist}
    flow: {width: 32, blocks: 2}
    paradigm: {name: nll, steps: 1563, batch_size: 128, eval_every: 521}
    seed: 0
"""


def rows() -> list[tuple[str, str, str]]:
    """Return rows of (work, measured, goal)."""
    with tempfile.TemporaryDirectory() as root:
        study = parse_study(GRID, "four-epochs", precision=auto_precision())
        study_dir, study, _ = freeze(study, Path(root))
        cell = study.cells[0]
        enter(study_dir, TaskOrder(cell.id, "benchmark"), RunOptions(asset_folder(), "cpu", torch.get_num_threads()))
        result = read_result(study_dir.cell(cell.id).result)
    rate = 128 / result.attrs["seconds_per_step"]
    what = "real MNIST, width 32, 2 blocks, 4 epochs"
    return [
        (f"{what}: validation", f"{result.eval['val_bits_per_dim'][-1]:.3f} bits/dim", "≤ 1.34"),
        (f"{what}: test", f"{result.final['test_bits_per_dim'][0]:.3f} bits/dim", ""),
        (f"{what}: Fréchet (LeNet, test, N = 5,000)", f"{result.final['frechet_lenet'][0]:.2f}", ""),
        (f"{what}: training, data included", f"{rate:.0f} images/s", ""),
    ]
