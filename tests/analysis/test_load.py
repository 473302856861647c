"""nllgen_analysis.load from the directory of a study: what is there now, without writing anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import nllgen_analysis
import pandas as pd
import pytest

from nllgen.errors import ConfigError
from nllgen.storage.collect import collect
from nllgen.storage.study_dir import StudyDir

Copy = Callable[[StudyDir], StudyDir]


@pytest.fixture
def collected(mixed_study: StudyDir, copy_of: Copy) -> StudyDir:
    study_dir = copy_of(mixed_study)
    collect(study_dir, study_dir.collected, reference={})
    return study_dir


@pytest.mark.parametrize("name", ["cells", "eval", "final", "history"])
def test_a_directory_holds_what_is_collected_from_it(mixed_study: StudyDir, collected: StudyDir, name: str) -> None:
    from_directory, from_file = nllgen_analysis.load(mixed_study.path), nllgen_analysis.load(collected.collected)
    pd.testing.assert_frame_equal(getattr(from_directory, name), getattr(from_file, name))


def test_nothing_is_written_into_a_directory_that_is_read(mixed_study: StudyDir) -> None:
    before = sorted(mixed_study.path.rglob("*"))
    nllgen_analysis.load(str(mixed_study.path))
    assert sorted(mixed_study.path.rglob("*")) == before


def test_a_directory_shows_results_that_were_not_collected_yet(collected: StudyDir) -> None:
    lost = collected.cell(nllgen_analysis.load(collected.path).cells["id"].iloc[-1]).result
    lost.unlink()
    frames = nllgen_analysis.load(collected.path)
    assert frames.cells["outcome"].iloc[-1] == "missing"
    assert nllgen_analysis.load(collected.collected).cells["outcome"].iloc[-1] == "done"


def test_a_relative_name_is_a_path(mixed_study: StudyDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mixed_study.path.parent)
    assert nllgen_analysis.load("tiny").name == "tiny"


def test_a_directory_with_a_study_file_alone_is_read(collected: StudyDir, tmp_path: Path) -> None:
    os.link(collected.collected, tmp_path / "study.h5")
    assert nllgen_analysis.load(tmp_path).name == "tiny"


@pytest.mark.parametrize("name", ["nowhere", "nowhere/study.h5", "."])
def test_a_path_without_a_study_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="there is no study at"):
        nllgen_analysis.load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tiny/study.yaml", "it is the study.yaml of a study folder"),
        ("tiny/manifest.jsonl", "it is a file"),
        ("tiny/cells", "it is a folder"),
        ("tiny/study.hdf5", "it does not exist"),
        (".", "it is a folder of studies"),
    ],
)
def test_a_path_of_another_kind_is_named_with_the_study_that_is_meant(
    mixed_study: StudyDir, name: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=f"{words}\n.*did you mean {mixed_study.path}"):
        nllgen_analysis.load(mixed_study.path.parent / name)
