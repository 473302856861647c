"""A study of one's own images in colour, from its file to its report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nllgen.errors import AssetError
from nllgen.launch.freeze import freeze
from nllgen.storage.result import read_result
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.image_files import read_images
from nllgen.study.load import load_study
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.worker.setup import enter
from tests.cli.process import in_process

GRID = """
name: own
metrics: {every: [frechet], final: [frechet, numerics], num_samples: 20, num_train_eval: 10, num_kept: 10}
cells:
  - data: {source: file, path: images.npz, sha256: SHA, num_val: 20, num_test: 20}
    flow: {width: 2, blocks: 0}
    paradigm: {name: [nll, nsgan], steps: 2, batch_size: 8, eval_every: 2}
"""


def run(study_dir: StudyDir, study: Study) -> None:
    for cell in study.cells:
        enter(study_dir, TaskOrder(cell.id, "a"), RunOptions(study_dir.path / "none", "cpu", 1))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> StudyDir:
    directory = tmp_path_factory.mktemp("own")
    images = np.random.default_rng(2).integers(0, 200, (80, 8, 8, 3), np.uint8)
    np.savez(directory / "images.npz", images=images)
    (directory / "own.yaml").write_text(GRID.replace("SHA", read_images(directory / "images.npz").sha256))
    study_dir, study, _ = freeze(load_study(directory / "own.yaml", precision="fp32"), directory / "runs")
    (directory / "images.npz").unlink()  # the study's directory has a copy
    run(study_dir, study)
    return study_dir


def test_results_have_bits_per_dimension_of_all_channels(own: StudyDir) -> None:
    for cell in own.read_study().cells:
        final = read_result(own.cell(cell.id).result).final
        per_dim = np.asarray(final["test_nll_nats"]) / (3 * 8 * 8 * np.log(2))
        assert np.isfinite(final["test_bits_per_dim"]).all()
        # the levels' Jacobian is added to the likelihood of logits
        assert (np.asarray(final["test_bits_per_dim"]) > per_dim - 8).all()


def test_samples_are_kept_in_colour_and_no_lenet_measures_them(own: StudyDir) -> None:
    result = read_result(own.cell(own.read_study().cells[0].id).result)
    assert result.samples.shape == (10, 3, 8, 8)
    assert "frechet_lenet" not in result.final


def test_the_report_shows_sheets_in_colour_beside_the_users_images(own: StudyDir, tmp_path: Path) -> None:
    done = in_process(["report", str(own.path), "--out", str(tmp_path / "report")], cwd=tmp_path, env={})
    assert done.returncode == 0, done.stderr
    caption = (tmp_path / "report" / "figures" / "samples_file_40.txt").read_text()
    assert "before them own images." in caption
    page = (tmp_path / "report" / "report.html").read_text()
    assert "there is no LeNet for own images of 8×8 in colour" in page


def test_a_copy_that_is_gone_or_changed_is_named(own: StudyDir, tmp_path: Path) -> None:
    study = own.read_study()
    study_dir = StudyDir(tmp_path / "own")
    study_dir.freeze(study)
    with pytest.raises(AssetError, match=r"images/\w+\.npz is missing"):
        run(study_dir, study)
    copy = study_dir.images(study.cells[0].data.sha256 or "")
    copy.parent.mkdir()
    np.savez(copy, images=np.zeros((80, 8, 8, 3), np.uint8))
    with pytest.raises(AssetError, match="has the SHA-256"):
        run(study_dir, study)
