"""Models of the user's own are timed for a plan, in a process of their own, if this user accepts their code."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.launch.calibrate import time_cells
from nllgen.launch.executables import record_own
from nllgen.launch.own_models import time_own_models
from nllgen.planning.calibration import VARIABLE
from nllgen.planning.plan import Estimate, make_plan
from nllgen.study.config import Study
from nllgen.study.load import parse_study

GRID = """
name: own
plugins: [mine_timed]
cells:
  - data: {source: mnist, image_size: 14}
    model: {factory: "mine_timed:Gauss", options: {hidden: 2}}
    paradigm: {name: nll, steps: 1000, batch_size: 64}
    seed: [0, 1]
"""
MODULE = """
from pathlib import Path
import torch
from torch import nn
Path(__file__).with_name("imported").touch()
class Gauss(nn.Module):
    def __init__(self, *, shape, hidden):
        super().__init__()
        self.shape, self.mean = shape, nn.Parameter(torch.zeros(shape))
    def log_prob(self, x):
        return -(x - self.mean).square().sum((1, 2, 3))
    def sample(self, n, generator=None):
        return self.mean + torch.randn(n, *self.shape, generator=generator)
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    (tmp_path / "mine_timed.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(VARIABLE)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return parse_study(GRID, "g", precision="fp32")


def test_a_model_that_this_user_does_not_accept_is_not_imported(study: Study, tmp_path: Path) -> None:
    said: list[str] = []
    assert time_own_models(study, study.cells, accept=False, echo=said.append) == {}
    assert said == ["the times of this study's own models are unknown; nllgen plan --trust imports and times them"]
    assert not (tmp_path / "imported").exists()


def test_an_accepted_model_is_priced_by_its_timing(study: Study) -> None:
    said: list[str] = []
    timings = time_own_models(study, study.cells, accept=True, echo=said.append)
    assert said == ["timing 1 models of this study: a few seconds each"]
    rows = make_plan(study, {}, timings=timings).rows
    assert {row.estimate for row in rows} == {Estimate.TIMED}
    (timing,) = timings.values()
    assert rows[0].seconds > 1000 * timing.step_s > 0


def test_a_model_of_a_study_that_was_submitted_is_timed_without_a_question(study: Study) -> None:
    record_own(study)
    assert time_own_models(study, study.cells, accept=False, echo=lambda text: None)


def test_a_model_that_cannot_be_imported_is_left_out_with_the_reason(study: Study, tmp_path: Path) -> None:
    (tmp_path / "mine_timed.py").unlink()
    said: list[str] = []
    assert time_own_models(study, study.cells, accept=True, echo=said.append) == {}
    assert "cannot be timed: model.factory mine_timed:Gauss cannot be imported" in said[-1]


def test_a_job_imports_nothing(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert time_own_models(study, study.cells, accept=True, echo=lambda text: None) == {}
    assert not (tmp_path / "imported").exists()


def test_the_passes_of_a_model_are_timed_in_bf16_too(study: Study) -> None:
    cell = study.cells[0].model_copy(update={"precision": "bf16"})
    timing = time_cells([cell]).cells[0]
    assert min(timing.step_s, timing.density_s, timing.sample_s) > 0
