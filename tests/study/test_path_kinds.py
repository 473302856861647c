"""Kinds of paths, told by what lies there, and the paths that were meant instead."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nllgen.launch.freeze import freeze
from nllgen.storage.study_dir import StudyDir
from nllgen.study.load import parse_study
from nllgen.study.path_kinds import (
    PathKind,
    enclosing_study,
    not_a_grid,
    not_a_study,
    not_collected,
    path_kind,
    studies_in,
)
from nllgen.study.user_directories import plain_path
from tests.cli.process import TINY


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return freeze(parse_study(TINY, "tiny.yaml", precision="fp32"), tmp_path / "runs")[0].path


def npz(path: Path) -> None:
    np.savez(path, x=np.zeros(3))


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "hello")


FILES: dict[str, tuple[Callable[[Path], object], PathKind]] = {
    "mine.yaml": (lambda path: path.write_text(TINY), PathKind.GRID),
    "mine": (lambda path: path.write_text(TINY), PathKind.GRID),
    "profile.yaml": (lambda path: path.write_text("partition: short\ntime_min: 10\n"), PathKind.PROFILE),
    "empty": (lambda path: path.write_text(""), PathKind.FILE),
    "words": (lambda path: path.write_text("hello cells: 3"), PathKind.FILE),
    "mine.pt": (lambda path: torch.save({"x": torch.zeros(3)}, path), PathKind.WEIGHTS),
    "mine.npz": (npz, PathKind.ARRAYS),
    "mine.zip": (archive, PathKind.FILE),
    "mine.sif": (lambda path: path.write_bytes(bytes(32) + b"SIF_MAGIC\0" + bytes(100)), PathKind.CONTAINER),
    "other.h5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), PathKind.HDF5),
    "pipe": (os.mkfifo, PathKind.SPECIAL),
    "folder": (os.mkdir, PathKind.DIRECTORY),
    "nothing": (lambda path: None, PathKind.MISSING),
    "a\0b": (lambda path: None, PathKind.MISSING),
    "a" * 300: (lambda path: None, PathKind.MISSING),
}


@pytest.mark.parametrize("name", FILES)
def test_a_kind_is_told_by_the_content(tmp_path: Path, name: str) -> None:
    make, kind = FILES[name]
    make(tmp_path / name)
    assert path_kind(tmp_path / name) is kind


def test_the_parts_of_a_study_have_kinds(mixed_study: StudyDir) -> None:
    cell = next(mixed_study.path.glob("cells/*"))
    truth = next(mixed_study.path.glob("truths/*"))
    kinds = {
        mixed_study.path: PathKind.STUDY,
        mixed_study.header: PathKind.FROZEN,
        cell: PathKind.CELL,
        cell / "result.h5": PathKind.RESULT_H5,
        truth: PathKind.TRUTH,
        truth / "truth.pt": PathKind.WEIGHTS,
        next(cell.glob("model.*.pt")): PathKind.MODEL,
        truth / "dataset.h5": PathKind.DATASET_H5,
        mixed_study.path.parent: PathKind.ROOT,
    }
    assert {path: path_kind(path) for path in kinds} == kinds


def test_a_result_under_another_name_is_one(mixed_study: StudyDir, tmp_path: Path) -> None:
    result = next(mixed_study.path.glob("cells/*/result.h5"))
    (tmp_path / "study.h5").write_bytes(result.read_bytes())
    assert path_kind(tmp_path / "study.h5") is PathKind.RESULT_H5


def test_a_path_in_a_study_leads_to_it(study: Path) -> None:
    assert enclosing_study(study / "cells" / "nothing" / "log.txt") == study


def test_a_path_outside_of_studies_leads_to_none(tmp_path: Path) -> None:
    assert enclosing_study(tmp_path / "nothing") is None


def test_a_part_of_a_study_means_the_study(study: Path) -> None:
    assert not_a_study(study / "study.yaml", study.parent).hint == f"did you mean {study}?"


def test_a_grid_means_the_study_of_its_name(study: Path, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(TINY)
    assert not_a_study(tmp_path / "grid.yaml", study.parent).hint == f"did you mean {study}?"


def test_a_grid_that_was_not_submitted_is_to_be_submitted(study: Path, tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text(TINY.replace("name: tiny", "name: other"))
    assert f"nllgen submit {grid}" in not_a_study(grid, study.parent).hint


def test_a_root_of_one_study_means_it(study: Path) -> None:
    assert not_a_study(study.parent, study.parent).hint == f"did you mean {study}?"


def test_a_root_of_two_studies_names_both(study: Path) -> None:
    freeze(parse_study(TINY.replace("name: tiny", "name: second"), "second.yaml", precision="fp32"), study.parent)
    assert "it holds second, tiny" in not_a_study(study.parent, study.parent).hint


def test_a_study_means_the_grid_of_its_name_beside_its_root(study: Path, tmp_path: Path) -> None:
    grid = tmp_path / "tiny.yaml"
    grid.write_text(TINY)
    assert not_a_grid(study).hint == f"did you mean {grid}?"


def test_a_study_without_its_grid_goes_on_by_retry(study: Path) -> None:
    assert f"nllgen retry {study}" in not_a_grid(study).hint


def test_a_result_means_the_collected_file_of_its_study(study: Path) -> None:
    (study / "study.h5").touch()
    assert not_collected(study / "cells", study.parent).hint == f"did you mean {study / 'study.h5'}?"


def test_the_kind_is_named(study: Path) -> None:
    assert not_a_grid(study).message == f"{study} is not the YAML file of a study: it is a study folder"


# plain paths


@pytest.mark.parametrize(
    ("path", "plain"),
    [("/a/b/../c", "/a/c"), ("/a/./b", "/a/b"), ("/../a", "/a"), ("/a/b/../../..", "/"), ("/a/b", "/a/b")],
)
def test_a_plain_path_has_no_steps_back(path: str, plain: str) -> None:
    assert str(plain_path(path)) == plain


def test_a_plain_path_leads_through_a_link_to_the_same_place(tmp_path: Path) -> None:
    (tmp_path / "far" / "folder").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "folder")
    assert plain_path(tmp_path / "link" / ".." / "x") == tmp_path / "far" / "x"


def test_a_plain_path_keeps_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert plain_path(tmp_path / "link" / "a" / ".." / "x") == tmp_path / "link" / "x"


def test_a_directory_that_is_closed_to_this_user_hides_no_study_beside_it(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study.parent / "closed").mkdir(0)
    monkeypatch.chdir(study.parent)
    before = os.geteuid()
    os.seteuid(before or 65534)  # root may look into everything
    try:
        assert [path.name for path in studies_in(Path())] == [study.name]
    finally:
        os.seteuid(before)
