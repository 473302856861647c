"""Nothing but fetching and building uses the network: everything else is done where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from process import NLLGEN

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="takes the network away: needs root"),
]
GRID = """
name: tiny
truth:
  data: {image_size: 7, num_train: 500, num_val: 100, num_test: 100}
  flow: {width: 2, blocks: 0, scales: 1}
  paradigm: {steps: 2, batch_size: 16}
dataset: {num_train: 100, num_val: 50, num_test: 50, num_entropy: 50}
metrics: {final: [divergence, frechet], num_samples: 16, num_train_eval: 16, num_kept: 4}
cells:
  - {data: {source: synthetic, num_train: 50}, degree: W, paradigm: {name: nsgan, steps: 2, batch_size: 16}}
"""


def offline(folder: Path, assets: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``nllgen`` in a network namespace of its own, in which not even the loopback device is up."""
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(["unshare", "--net", NLLGEN, *words], cwd=folder, env=env | {"NLLGEN_ASSETS": str(assets)},
                          capture_output=True, text=True, timeout=500)  # fmt: skip


def test_a_study_is_run_collected_measured_and_reported_offline(tmp_path: Path, mnist_assets: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(GRID)
    for line in (
        "plan --grid tiny.yaml",
        "submit --grid tiny.yaml --local --wait",
        "status runs/tiny",
        "evaluate runs/tiny --metric critic",
        "collect runs/tiny",
        "report runs/tiny/study.h5 --out report",
    ):
        done = offline(tmp_path, mnist_assets, *line.split())
        assert done.returncode == 0, f"nllgen {line}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
