"""``collect`` says how much there is, and ``report`` collects first where that is needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.storage.study_dir import StudyDir
from tests.cli.process import ENVIRONMENT, Run, frozen, refused

pytestmark = pytest.mark.usefixtures("mnist_assets")

Copy = Callable[[StudyDir], StudyDir]


@pytest.fixture
def study(bare_study: StudyDir, copy_of: Copy) -> StudyDir:
    return copy_of(bare_study)


def touch(path: Path, later_s: float) -> None:
    """Set a file's time to so long after now."""
    now = path.stat().st_mtime + later_s
    os.utime(path, (now, now))


# collect


@pytest.mark.parametrize("options", [[], ["--allow-missing"]])
def test_a_collection_of_nothing_ends_with_its_count(nllgen: Run, tmp_path: Path, options: list[str]) -> None:
    done = nllgen("collect", frozen(tmp_path / "runs"), *options)
    assert done.returncode == 1
    assert "0 of 2 cells have a result" in (done.stdout + done.stderr).splitlines()[-1]


def test_a_collection_with_holes_ends_with_its_count(nllgen: Run, study: StudyDir) -> None:
    next(study.path.glob("cells/*/result.h5")).unlink()
    done = nllgen("collect", study.path)
    refused(done, 1, "--allow-missing")
    assert "2 of 3 cells have a result" in done.stderr.splitlines()[-1]


# report


def test_a_study_that_was_not_collected_is_collected_in_one_line(nllgen: Run, study: StudyDir) -> None:
    done = nllgen("report", study.path, "--out", "report")
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert first == f"collected first, since {study.collected} was not there: 3 of 3 cells have a result"
    assert study.collected.exists()


def test_a_collected_study_is_not_collected_again(nllgen: Run, study: StudyDir) -> None:
    assert nllgen("collect", study.path).returncode == 0
    before = study.collected.stat().st_mtime_ns
    done = nllgen("report", study.path, "--out", "report")
    assert done.returncode == 0, done.stderr
    assert "collected first" not in done.stdout
    assert study.collected.stat().st_mtime_ns == before


@pytest.mark.parametrize("pattern", ["cells/*/result.h5", "manifest.jsonl"])
def test_an_older_collection_is_written_again(nllgen: Run, study: StudyDir, pattern: str) -> None:
    assert nllgen("collect", study.path).returncode == 0
    touch(next(study.path.glob(pattern)), 7200)
    done = nllgen("report", study.path, "--out", "report")
    assert f"{study.collected} was older than some results" in done.stdout.splitlines()[0]


def test_missing_cells_are_marked(nllgen: Run, study: StudyDir) -> None:
    next(study.path.glob("cells/*/result.h5")).unlink()
    done = nllgen("report", study.path, "--out", "report")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("2 of 3 cells have a result")


def test_a_study_without_results_is_neither_collected_nor_reported(nllgen: Run, tmp_path: Path) -> None:
    folder = frozen(tmp_path / "runs")
    refused(nllgen("report", folder, "--out", "report"), 1, "0 of 2 cells have a result")
    assert not (folder / "study.h5").exists()


def test_a_file_is_reported_as_it_is(nllgen: Run, study: StudyDir) -> None:
    assert nllgen("collect", study.path).returncode == 0
    before = study.collected.stat().st_mtime_ns
    touch(next(study.path.glob("cells/*/result.h5")), 7200)
    done = nllgen("report", study.collected, "--out", "report")
    assert done.returncode == 0, done.stderr
    assert f"nllgen report {study.path} collects them first" in done.stderr
    assert study.collected.stat().st_mtime_ns == before


def test_a_file_that_is_not_there_stands_for_its_study(nllgen: Run, study: StudyDir) -> None:
    done = nllgen("report", study.collected, "--out", "report")
    assert done.returncode == 0, done.stderr
    assert "was not there" in done.stdout.splitlines()[0]


def test_the_dataset_of_a_truth_is_no_collected_study(nllgen: Run, study: StudyDir) -> None:
    dataset = next(study.path.glob("truths/*/dataset.h5"))
    refused(nllgen("report", dataset, "--out", "report"), 2, "it is the dataset.h5 of a truth", f"mean {study.path}?")


# assets


@pytest.mark.parametrize("asset", ["mnist", "inception"])
def test_a_named_source_that_is_not_there_is_refused(nllgen: Run, asset: str, mnist_assets: Path) -> None:
    done = nllgen("assets", "fetch", asset, "--from", "/nowhere", NLLGEN_ASSETS=str(mnist_assets))
    refused(done, ENVIRONMENT, "/nowhere")


def test_a_named_source_without_the_files_is_refused(nllgen: Run, tmp_path: Path, mnist_assets: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = nllgen("assets", "fetch", "mnist", "--from", "empty", NLLGEN_ASSETS=str(mnist_assets))
    refused(done, ENVIRONMENT, "empty has none of the wanted files", "it has no train-images-idx3-ubyte")


def test_a_named_source_with_the_files_is_taken_as_good(nllgen: Run, mnist_assets: Path) -> None:
    words = ("assets", "fetch", "mnist", "--from", mnist_assets / "mnist")
    done = nllgen(*words, NLLGEN_ASSETS=str(mnist_assets))
    assert done.returncode == 0, done.stderr
    assert "nothing is missing" in done.stdout


# metrics by the names that people use


def test_help_lists_the_groups_of_metrics(nllgen: Run) -> None:
    text = " ".join(nllgen("evaluate", "--help").stdout.split())
    assert "One of divergence, pareto, frechet, frechet_inf, kid, prdc" in text


@pytest.mark.parametrize("word", ["fid", "FID"])
def test_the_frechet_distance_is_known_as_fid(nllgen: Run, study: StudyDir, word: str, mnist_assets: Path) -> None:
    done = nllgen("evaluate", study.path, "--metric", word, NLLGEN_ASSETS=str(mnist_assets))
    assert done.returncode == 0, done.stderr
    assert len(list(study.path.glob("cells/*/metrics.frechet.h5"))) == 3
