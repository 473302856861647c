"""A tiny study on the truth's images, with everything run once for all tests of the worker."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Cell, Study
from nllgen.study.load import parse_study
from tests.tiny_studies import MakeStudy, quick_critic

GRID = """
name: tiny
truth:
  data: {source: mnist, image_size: 14, num_train: 500, num_val: 200, num_test: 200}
  flow: {width: 4, blocks: 1, scales: 1}
  paradigm: {name: nll, steps: 40, batch_size: 32, eval_every: 20}
  seed: 0
dataset: {num_train: 200, num_val: 200, num_test: 200, num_entropy: 500}
metrics: {frechet: [lenet], num_samples: 100, num_train_eval: 100, num_kept: 4}
cells:
  - data: {source: synthetic, num_train: 100}
    degree: [W, W*]
    paradigm: {name: nll, steps: 150, batch_size: 32, eval_every: 50}
  - data: {source: synthetic, num_train: fresh}
    degree: W
    start: truth
    paradigm:
      name: nsgan
      steps: 60
      batch_size: 16
      eval_every: 20
      r1_gamma: 0.5
      instance_noise: 0.1
      disc_start: pretrained
      disc_pretrain_steps: 30
"""


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(GRID, "tiny.yaml", precision="fp32")


@pytest.fixture(scope="module")
def truth_cell(study: Study) -> Cell:
    assert study.truth is not None
    return study.truth


@pytest.fixture(scope="module")
def quick_critics() -> Iterator[None]:
    """Critics take few steps in this process and in those that are forked from it."""
    with quick_critic():
        yield


@pytest.fixture(scope="module")
def done(finished_study: MakeStudy) -> StudyDir:
    """The study with its truth trained, its data drawn and its cells run; not to be changed."""
    return finished_study(GRID, with_quick_critic=True)


@pytest.fixture
def prepared(done: StudyDir, copy_of: Callable[[StudyDir], StudyDir]) -> StudyDir:
    """A copy in which the truth and its data set are done and no cell has run."""
    study_dir = copy_of(done)
    shutil.rmtree(study_dir.path / "cells")
    return study_dir
