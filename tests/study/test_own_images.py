"""Studies of one's own images: the content is in a cell's id, the path is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nllgen.errors import ConfigError
from nllgen.study.config import Study
from nllgen.study.image_files import read_images
from nllgen.study.load import load_study

GRID = """
name: own
cells:
  - data: {source: file, path: PATH, sha256: SHA, num_val: 10, num_test: 6MORE}
    flow: {width: 4}
    paradigm: {name: nll, steps: 2}
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    array = np.random.default_rng(1).integers(0, 256, (40, 8, 12, 3), np.uint8)
    np.savez(tmp_path / "images.npz", images=array)
    return tmp_path / "images.npz"


def load(images: Path, *, path: str = "images.npz", sha256: str = "", more: str = "", text: str = GRID) -> Study:
    digest = sha256 or read_images(images).sha256
    grid = images.parent / "own.yaml"
    grid.write_text(text.replace("PATH", path).replace("SHA", digest).replace("MORE", more))
    return load_study(grid, precision="fp32")


def fault(images: Path, **given: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(images, **given)
    return str(caught.value)


def test_a_cell_has_the_shape_and_the_number_of_its_images(images: Path) -> None:
    (cell,) = load(images).cells
    assert cell.data.shape == cell.real_nvp.shape == (3, 8, 12)
    assert cell.data.num_train == 24
    assert cell.architecture.num_dims == 3 * 8 * 12


def test_a_path_is_relative_to_the_study_and_not_in_the_id(images: Path, tmp_path: Path) -> None:
    first = load(images)
    moved = tmp_path / "data" / "moved.npz"
    moved.parent.mkdir()
    digest = read_images(images).sha256
    images.rename(moved)
    second = load(images, path="data/moved.npz", sha256=digest)
    assert [cell.id for cell in first.cells] == [cell.id for cell in second.cells]
    assert second.image_files == {digest: str(moved)}
    assert "path" not in second.cells[0].data.model_dump()


def test_other_images_are_another_cell(images: Path) -> None:
    first = load(images)
    np.savez(images, images=np.zeros((40, 8, 12, 3), np.uint8))
    assert load(images).cells[0].id != first.cells[0].id


def test_the_resolved_number_is_the_id_of_the_written_one(images: Path) -> None:
    assert load(images).cells[0].id == load(images, more=", num_train: 24").cells[0].id


def test_a_missing_and_a_wrong_digest_are_answered_with_the_right_one(images: Path) -> None:
    digest = read_images(images).sha256
    wrong = "a" * 64
    assert f"is not that of the images of images.npz, which is {digest}" in fault(images, sha256=wrong)
    text = GRID.replace(" sha256: SHA,", "")
    assert f"data.sha256: is required; the images of images.npz have sha256: {digest}" in fault(images, text=text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("path: PATH,", ""), "data.path: is required for source: file"),
        (("path: PATH,", "path: none.npz,"), "none.npz cannot be read: No such file"),
        (("source: file,", "source: mnist,"), "path goes with source: file, not mnist"),
        (("num_val: 10,", "num_val: 10, image_size: 14,"), "images of a file have their own size: leave it out"),
        (("num_val: 10,", "num_val: 39,"), "39, and num_test 6, leave too few of the 40 images for training"),
        (("num_val: 10,", "num_train: 25, num_val: 10,"), "25 is more than the 24 images that num_val and num_test"),
        (("num_val: 10,", "num_train: fresh, num_val: 10,"), "num_train: fresh needs source: synthetic, not file"),
    ],
)
def test_what_does_not_fit_the_file_is_an_error(images: Path, change: tuple[str, str], reason: str) -> None:
    assert reason in fault(images, text=GRID.replace(*change))


def test_a_truth_is_trained_on_own_images_and_its_students_have_their_shape(images: Path) -> None:
    text = """
name: own
truth:
  data: {source: file, path: PATH, sha256: SHA, num_val: 10, num_test: 6MORE}
  flow: {width: 2, blocks: 0}
  paradigm: {steps: 2}
dataset: {num_train: 20}
cells:
  - data: {source: synthetic, num_train: 20}
    degree: W
    paradigm: {name: nll, steps: 2}
"""
    study = load(images, text=text)
    assert study.cells[0].data.shape == (3, 8, 12)
    assert study.image_files == {read_images(images).sha256: str(images)}


def test_ids_of_cells_on_published_sets_do_not_have_the_keys_of_files() -> None:
    keys = load_study("demo", precision="fp32").cells[0].data.model_dump().keys()
    assert keys == {"source", "image_size", "alpha", "num_train", "num_val", "num_test", "truth_id"}
