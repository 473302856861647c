"""Cells on published sets beside MNIST, from generated files of the sets' form that are known by their own hashes."""

from __future__ import annotations

import gzip
import hashlib
import os
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest

from nllgen import assets
from nllgen.assets import files as asset_files
from nllgen.errors import AssetError
from nllgen.launch.freeze import freeze
from nllgen.storage.result import read_result
from nllgen.storage.study_dir import StudyDir
from nllgen.study.image_sets import IMAGE_SETS
from nllgen.study.load import parse_study
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.worker.setup import enter

SHAPES = ((300, 28, 28), (300,), (100, 28, 28), (100,))
CELL = """
name: NAME
metrics: {every: [], final: [], frechet: [], num_samples: 10, num_train_eval: 10, num_kept: 0}
cells:
  - data: {source: NAME, image_size: 14, num_val: 20, num_test: 20}
    flow: {width: 2, blocks: 0, scales: 1}
    paradigm: {name: nll, steps: 2, batch_size: 8, eval_every: 2}
"""
TRUTH = """
name: NAME
metrics: {every: [], final: [], frechet: [], num_samples: 10, num_train_eval: 10, num_kept: 0}
truth:
  data: {source: NAME, image_size: 14, num_val: 20, num_test: 20}
  flow: {width: 2, blocks: 0, scales: 1}
  paradigm: {steps: 2, batch_size: 8, eval_every: 2}
dataset: {num_train: 20, num_val: 20, num_test: 20, num_entropy: 500}
cells:
  - data: {source: synthetic, num_train: 20}
    degree: W
    paradigm: {name: nll, steps: 2, batch_size: 8, eval_every: 2}
"""


@pytest.fixture(params=["fashion-mnist", "kmnist", "emnist-digits"])
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Fetch small files of a set into ``tmp_path / assets`` and return its name."""
    images = IMAGE_SETS[request.param]
    small, known = [], []
    for file, shape in zip(images.files, SHAPES, strict=True):
        content = asset_files.idx_header(shape) + bytes(level % 10 for level in os.urandom(prod(shape)))
        content = gzip.compress(content) if file.is_packed else content
        (tmp_path / file.name).write_bytes(content)
        md5 = hashlib.md5(content).hexdigest() if file.md5 else ""
        small.append(replace(file, shape=shape, md5=md5))
        size = max(len(content), prod(shape) + 16)
        known.append(asset_files.AssetFile(images.name, file.name, size, "md5", md5, shape))
    a, b, c, d = small
    monkeypatch.setitem(IMAGE_SETS, images.name, replace(images, files=(a, b, c, d)))
    monkeypatch.setitem(asset_files.IMAGE_FILES, images.name, tuple(known))
    assets.fetch_images(tmp_path / "assets", images.name, source=tmp_path, mirrors=(), echo=print)
    return images.name


def run(text: str, name: str, tmp_path: Path) -> StudyDir:
    study_dir, study, _ = freeze(parse_study(text.replace("NAME", name), "x.yaml", precision="fp32"), tmp_path / "runs")
    prepare = ["truth", "dataset"] if study.truth else []
    for task in (*prepare, *(cell.id for cell in study.cells)):
        enter(study_dir, TaskOrder(task, task), RunOptions(tmp_path / "assets", "cpu", 1))
    return study_dir


def test_a_cell_is_trained_on_a_set(name: str, tmp_path: Path) -> None:
    study_dir = run(CELL, name, tmp_path)
    (cell,) = study_dir.read_study().cells
    assert cell.data.num_training == 200
    final = read_result(study_dir.cell(cell.id).result).final
    assert np.isfinite(final["test_bits_per_dim"]).all()


def test_a_truth_is_trained_on_a_set(name: str, tmp_path: Path) -> None:
    study_dir = run(TRUTH, name, tmp_path)
    (cell,) = study_dir.read_study().cells
    assert np.isfinite(read_result(study_dir.cell(cell.id).result).final["test_nll_nats"]).all()


def test_a_set_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "assets" / name / IMAGE_SETS[name].files[2].name).unlink()
    with pytest.raises(AssetError, match=f"is missing(?s:.)*nllgen assets fetch {name}"):
        run(CELL, name, tmp_path)
