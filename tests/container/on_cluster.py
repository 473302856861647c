"""What the tests of contained jobs share: a small study, and a directory to run it from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nllgen.assets import asset_folder
from tests.cluster.devcluster import PlainUser

GRID = """
name: contained
truth:
  data: {source: mnist, image_size: 7, num_val: 50, num_test: 50}
  flow: {width: 2, blocks: 0, scales: 1}
  paradigm: {name: nll, steps: 10, batch_size: 16, eval_every: 5}
dataset: {num_train: 200, num_val: 50, num_test: 50, num_entropy: 50}
metrics: {frechet: [], num_samples: 50, num_train_eval: 50, num_kept: 4}
cells:
  - data: {source: synthetic, num_train: 100, num_val: 50, num_test: 50}
    degree: W
    paradigm: {name: nll, steps: 3_000, batch_size: 16, eval_every: 1_500}
    seed: 0
"""


def prepared(root: Path, owner: PlainUser | None = None) -> Path:
    """A folder with a profile for each partition, and MNIST."""
    root.mkdir()
    for partition in ("short", "preempt"):
        text = f"partition: {partition}\ntime_min: 10\nmemory_gb: 1.5\ncpus: 1\nsignal_s: 15\n"
        (root / f"{partition}.yaml").write_text(text)
    shutil.copytree(asset_folder() / "mnist", root / "assets" / "mnist")
    if owner:
        for path in (root, *root.rglob("*")):
            os.chown(path, owner.uid, owner.uid)
    return root
