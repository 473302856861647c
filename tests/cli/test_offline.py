"""All commands but assets fetch and build work without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.process import NLLGEN

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="takes the network away: needs root"),
]


def offline(folder: Path, assets: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``nllgen`` in a network namespace in which not even the loopback device is up."""
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(["unshare", "--net", NLLGEN, *words], cwd=folder, env=env | {"NLLGEN_ASSETS": str(assets)},
                          capture_output=True, text=True, timeout=500)  # fmt: skip


def test_the_smoke_study_is_run_collected_measured_and_reported_offline(tmp_path: Path, mnist_assets: Path) -> None:
    """The smoke study has a truth, real data, both paradigms and a Nash start, so that all parts run."""
    for line in (
        "plan --grid smoke",
        "submit --grid smoke --local --wait",
        "status runs/smoke",
        "evaluate runs/smoke --metric frechet_inf",
        "collect runs/smoke",
        "report runs/smoke/study.h5 --out report",
    ):
        done = offline(tmp_path, mnist_assets, *line.split())
        assert done.returncode == 0, f"nllgen {line}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
