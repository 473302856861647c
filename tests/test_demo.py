"""The findings of `make demo`: decided claims, a smallest KL below the truth's size, a game that left the equilibrium.

CI runs `make demo` before the tests and names its directory in NLLGEN_DEMO; elsewhere the demo runs here, once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nllgen_analysis.figures.capacity import final_kl
from nllgen_analysis.frames import Frames, load

from nllgen.storage.study_dir import StudyDir

pytestmark = pytest.mark.slow
DECIDED = {"C2": "supported", "C5": "supported", "C6": "supported"}


@pytest.fixture(scope="module")
def demo(mnist_assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the study's directory, with its report in ``report``."""
    if made := os.environ.get("NLLGEN_DEMO"):
        return Path(made)
    root = tmp_path_factory.mktemp("runs")
    env = os.environ | {"NLLGEN_ASSETS": str(mnist_assets)}
    study = root / "demo"
    for words in (
        ["submit", "--grid", "demo", "--local", "--wait", "--root", str(root)],
        ["collect", str(study)],
        ["report", str(study / "study.h5"), "--out", str(study / "report")],
    ):
        subprocess.run([sys.executable, "-m", "nllgen", *words], env=env, check=True, timeout=590)
    return study


@pytest.fixture(scope="module")
def frames(demo: Path) -> Frames:
    return load(demo / "study.h5")


@pytest.mark.parametrize(("claim", "verdict"), DECIDED.items())
def test_its_report_has_decided_claims(demo: Path, claim: str, verdict: str) -> None:
    verdicts = json.loads((demo / "report" / "verdicts.json").read_text())
    by_id = {row["id"]: row for row in verdicts["claims"]}
    assert by_id[claim]["verdict"] == verdict
    assert by_id[claim]["num_seeds"] == 5
    assert verdicts["rules"]["status"] == "registered"


def test_kl_is_smallest_below_the_truths_own_size(frames: Frames) -> None:
    rows = final_kl(frames)
    rows = rows[(rows["weights"] == "last") & (rows["num_train"] == "100")]
    means = rows.groupby("student")["kl_nats"].mean()
    assert set(means.index) == {"U2", "U1", "W", "O1"}
    assert means.idxmin() in ("U2", "U1")
    assert means["W"] < means["O1"]


def test_a_working_game_beats_likelihood_in_image_quality(frames: Frames) -> None:
    """Its images are nearer to the truth's than those of the flow that likelihood trains on fresh data."""
    final = frames.final[(frames.final["num_train"] == "fresh") & (frames.final["start"] == "random")]
    game = final[(final["degree"] == "dcgan") & (final["weights"] == "ema")]["frechet_lenet"]
    flow = final[(final["degree"] == "W") & (final["weights"] == "last")]["frechet_lenet"]
    assert len(game) == len(flow) == 1
    assert game.item() < flow.item()


def test_real_mnist_joined(frames: Frames) -> None:
    assert (frames.cells["source"] == "mnist").sum() == 2
    assert not frames.study["left_out"]
    assert "mnist" in frames.reference


def test_evaluations_take_less_than_half_of_the_time(demo: Path, frames: Frames) -> None:
    cells = frames.cells
    training = float((cells["steps"] * cells["seconds_per_step"].astype(float)).sum())
    evaluating = float(np.nansum(frames.eval["time_s"].astype(float)) + np.nansum(frames.final["time_s"].astype(float)))
    assert 0 < evaluating < training


def test_the_page_begins_with_its_findings_and_shows_them(demo: Path) -> None:
    page = (demo / "report" / "report.html").read_text()
    assert page.index('<ul id="findings">') < page.index("<h2>Verdicts</h2>")
    assert "claims are decided" in page
    assert "Its truth is known-mnist-14, which ships with nllgen." in page
    for figure in ("kl_capacity", "nash_synthetic_fresh", "samples_synthetic_fresh", "nll_frechet_lenet"):
        assert (demo / "report" / "figures" / f"{figure}.png").stat().st_size > 10_000


def test_every_cell_is_finished(demo: Path) -> None:
    study = StudyDir(demo).read_study()
    assert study.pretrained == "known-mnist-14"
    assert all(StudyDir(demo).cell(cell.id).result.exists() for cell in study.cells)
