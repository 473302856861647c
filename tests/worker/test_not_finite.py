"""A measurement that is not finite is a result: from the model to result.h5."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nllgen.storage.result import Result, read_result
from nllgen.storage.states import Expected, ResultState, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import tasks_of
from tests.tiny_studies import MakeStudy

GRID = """
name: wild
plugins: [tests]
truth:
  data: {source: mnist, image_size: 14, num_train: 500, num_val: 120, num_test: 120}
  flow: {width: 2, blocks: 0, scales: 1}
  paradigm: {name: nll, steps: 3, batch_size: 32, eval_every: 3}
dataset: {num_train: 240, num_val: 120, num_test: 120, num_entropy: 500}
metrics: {frechet: [lenet], num_samples: 120, num_train_eval: 50, num_kept: 4, every: [divergence], final: [divergence]}
cells:
"""
CELL = """
  - data: {source: synthetic, num_train: 120, num_val: 120, num_test: 120}
    model: {factory: "tests.worker.wild_models:NAME"}
    paradigm: {name: nll, steps: 3, batch_size: 16, eval_every: 3}
"""


@pytest.fixture(scope="module")
def finished(finished_study: MakeStudy) -> StudyDir:
    return finished_study(GRID + "".join(CELL.replace("NAME", name) for name in ("Bounded", "NotANumber", "Huge")))


def result_of(study_dir: StudyDir, name: str) -> Result:
    """Return the result of a model; it counts as done."""
    study = study_dir.read_study()
    (cell,) = (cell for cell in study.cells if cell.model and cell.model.factory.endswith(name))
    (task,) = (task for task in tasks_of(study, study_dir) if task.name == cell.id)
    assert inspect(task, Expected.of(study, study_dir)).state in (ResultState.COMPLETE, ResultState.DIVERGED)
    return read_result(study_dir.cell(cell.id).result)


def test_images_outside_of_a_models_support_have_infinite_divergences(finished: StudyDir) -> None:
    result = result_of(finished, "Bounded")
    assert result.attrs["outcome"] == "done"
    assert (result.final["test_nll_nats"] == math.inf).all()
    assert (result.final["kl_nats"] == math.inf).all()
    assert np.isfinite(result.final["reverse_kl_nats"]).all()
    assert (result.eval["val_nll_nats"] == math.inf).all()
    assert np.isfinite(result.history["train_nll_nats"]).all()


def test_a_density_that_is_not_a_number_has_diverged(finished: StudyDir) -> None:
    result = result_of(finished, "NotANumber")
    assert result.attrs["outcome"] == "diverged"
    assert len(result.history["step"]) == 1
    assert np.isnan(result.history["train_nll_nats"]).all()
    assert np.isnan(result.final["test_nll_nats"]).all()


def test_huge_densities_are_kept(finished: StudyDir) -> None:
    result = result_of(finished, "Huge")
    assert result.attrs["outcome"] == "done"
    assert (result.final["test_nll_nats"] < -1e300).all()
    assert (result.final["kl_nats"] < -1e300).all()
    assert np.isinf(result.final["kl_se_nats"]).all()  # the squares overflow
