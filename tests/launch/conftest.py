"""Tiny studies, small disks, and studies that run as processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.launch.freeze import freeze
from nllgen.launch.status import TaskReport, status
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study
from nllgen.study.load import parse_study

GRID = """
name: tiny
truth:
  data: {source: mnist, image_size: 7, num_val: 50, num_test: 50}
  flow: {width: 2, blocks: 0, scales: 1}
  paradigm: {name: nll, steps: 10, batch_size: 16, eval_every: 5}
dataset: {num_train: 200, num_val: 50, num_test: 50, num_entropy: 50}
metrics: {every: [], final: [divergence], frechet: [], num_samples: 50, num_train_eval: 50, num_kept: 4}
cells:
  - data: {source: mnist, image_size: 7, num_val: 50, num_test: 50}
    degree: W
    paradigm: {name: nll, steps: 10, batch_size: 16, eval_every: 5}
  - data: {source: synthetic, num_train: 100, num_val: 50, num_test: 50}
    degree: W
    paradigm: {name: nll, steps: LONG, batch_size: 16, eval_every: 500}
    seed: [0, 1]
"""


def grid_text(steps: int = 20) -> str:
    return GRID.replace("LONG", str(steps))


@pytest.fixture
def tiny() -> Study:
    """Return a study with a truth, a data set, a cell on real data and two on synthetic data."""
    return parse_study(grid_text(), "tiny.yaml", precision="fp32")


@pytest.fixture
def folder(tiny: Study, tmp_path: Path) -> StudyDir:
    """Return the directory of the study, in which nothing has run."""
    return freeze(tiny, tmp_path)[0]


@pytest.fixture
def task(tiny: Study, folder: StudyDir) -> Task:
    """Return the task of the first cell, and create its folder."""
    task = tasks_of(tiny, folder)[2]
    task.task_dir.path.mkdir(parents=True)
    return task


@pytest.fixture
def row(tiny: Study, folder: StudyDir, task: Task) -> Callable[[], TaskReport]:
    """Return the function that reports the task."""
    return lambda: next(row for row in status(folder, tiny) if row.name == task.name)


@pytest.fixture(scope="session")
def tiny_grid() -> Callable[[int], str]:
    """Return the function that makes the grid's text for a number of steps of the cells on synthetic data."""
    return grid_text
