"""nllgen export: files for other programs, of a study by name, directory or file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from nllgen.storage.study_dir import StudyDir
from tests.cli.process import USAGE, Run, refused


def test_a_study_is_exported_by_its_directory(nllgen_process: Run, mixed_study: StudyDir, tmp_path: Path) -> None:
    done = nllgen_process("export", mixed_study.path, "--format", "csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5 cells done, 0 diverged, 0 missing: 7 files in tiny-csv")
    assert len(pd.read_csv(tmp_path / "tiny-csv" / "cells.csv")) == 6


def test_a_study_is_exported_by_its_name_as_it_is_now(
    nllgen: Run, mixed_study: StudyDir, copy_of: Callable[[StudyDir], StudyDir], tmp_path: Path
) -> None:
    study_dir = copy_of(mixed_study)
    lost = study_dir.read_study().cells[0].id
    shutil.rmtree(study_dir.cell(lost).path)
    done = nllgen("export", "tiny", "--root", study_dir.path.parent, "--format", "parquet", "--out", "out")
    assert "4 cells done, 0 diverged, 1 missing" in done.stdout
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    assert list(cells.loc[cells["outcome"] == "missing", "id"]) == [lost]


def test_event_files_say_how_to_look_at_them(nllgen: Run, mixed_study: StudyDir) -> None:
    done = nllgen("export", mixed_study.path, "--format", "tensorboard", "--out", "events")
    assert done.stdout.splitlines()[-1] == "next: tensorboard --logdir events"


@pytest.mark.parametrize("to", ["csv", "parquet", "tensorboard"])
def test_a_second_export_replaces_nothing_unless_it_is_forced(nllgen: Run, mixed_study: StudyDir, to: str) -> None:
    command = ("export", mixed_study.path, "--format", to, "--out", "out")
    assert nllgen(*command).returncode == 0
    refused(nllgen(*command), USAGE, "not replaced", "--force")
    assert nllgen(*command, "--force").returncode == 0


def test_a_place_without_a_study_is_refused(nllgen: Run, tmp_path: Path) -> None:
    refused(nllgen("export", tmp_path, "--format", "csv"), USAGE, "is not a study folder", "manifest.jsonl")


def test_a_file_where_the_directory_should_be_is_refused(nllgen: Run, mixed_study: StudyDir, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    done = nllgen("export", mixed_study.path, "--format", "csv", "--out", "out")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out").read_text() == "mine"
