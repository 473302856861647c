"""Images of one's own on the command line: their digest, a study that names them, and what is wrong with either."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from nllgen.launch.freeze import freeze
from nllgen.study.image_files import read_images
from nllgen.study.image_sets import IMAGE_SETS
from nllgen.study.load import load_study
from tests.cli.process import Run

GRID = """
name: own
cells:
  - data: {source: file, path: images.npz, sha256: SHA, num_val: 10, num_test: 10}
    flow: {width: 2}
    paradigm: {name: nll, steps: 2}
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    array = np.random.default_rng(1).integers(0, 256, (40, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "images.npz", images=array)
    return tmp_path / "images.npz"


def test_the_digest_is_printed_as_a_line_of_a_study(nllgen_process: Run, images: Path) -> None:
    done = nllgen_process("assets", "digest", "images.npz")
    assert done.returncode == 0, done.stderr
    assert "# 40 images of 8×8 in colour" in done.stdout
    assert f"data: {{source: file, path: images.npz, sha256: {read_images(images).sha256}}}" in done.stdout


def test_a_study_of_own_images_is_planned(nllgen: Run, images: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(GRID.replace("SHA", read_images(images).sha256))
    done = nllgen("plan", "own.yaml")
    assert done.returncode == 0, done.stderr
    assert "custom nll file:20 random seed 0" in done.stdout
    assert "no Fréchet distance on LeNet's features: there is no LeNet for own images of 8×8 in colour" in done.stdout


def test_a_frozen_study_needs_only_its_copy_of_the_images(nllgen: Run, images: Path, tmp_path: Path) -> None:
    grid = tmp_path / "own.yaml"
    grid.write_text(GRID.replace("SHA", read_images(images).sha256))
    freeze(load_study(grid, precision="fp32"), tmp_path / "runs")
    images.unlink()
    done = nllgen("plan", "own.yaml", "--root", "runs", "--set", "cells.0.seed=[0,1]")
    assert done.returncode == 0, done.stderr
    assert "custom nll file:20 random seed 1" in done.stdout
    assert nllgen("plan", "own.yaml", "--root", "others").returncode == 2  # where no copy is


def test_a_wrong_digest_is_answered_with_the_right_one(nllgen: Run, images: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(GRID.replace("SHA", "a" * 64))
    done = nllgen("plan", "own.yaml")
    assert done.returncode == 2
    assert read_images(images).sha256 in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["none.npz", "notes.txt"])
def test_the_digest_of_no_images_is_refused(nllgen: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("words")
    done = nllgen("assets", "digest", name)
    assert done.returncode == 2
    assert "an .npz file with uint8 images" in done.stderr


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_every_set_can_be_asked_for(nllgen: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "source").mkdir()
    for file in IMAGE_SETS[name].files:
        (tmp_path / "source" / file.name).write_bytes(gzip.compress(b"other"))
    done = nllgen("assets", "fetch", name, "--from", "source")
    assert done.returncode != 0
    assert IMAGE_SETS[name].files[0].name.removesuffix(".gz") in done.stderr
    assert f"nllgen assets fetch {name} --from DIR" in done.stderr
    assert not (tmp_path / "assets").exists()
