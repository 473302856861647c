"""A result whose weights are gone, or that lies beside another run's: every command says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.storage.result import model_of
from nllgen.storage.study_dir import StudyDir
from tests.cli.process import Run
from tests.tiny_studies import BARE

CopyOf = Callable[[StudyDir], StudyDir]


@pytest.fixture
def robbed(bare_study: StudyDir, copy_of: CopyOf) -> tuple[StudyDir, list[str]]:
    """Return a finished study in which one cell has another's weights and one has none, and the ids of the two."""
    study_dir = copy_of(bare_study)
    one, other, third = (study_dir.cell(cell.id) for cell in study_dir.read_study().cells)
    model_of(one).unlink()
    shutil.copy(model_of(other), one.path)
    model_of(third).unlink()
    return study_dir, [one.path.name, third.path.name]


def test_every_command_names_a_result_without_its_weights(
    robbed: tuple[StudyDir, list[str]], nllgen: Run, tmp_path: Path
) -> None:
    study_dir, names = robbed
    (tmp_path / "grid.yaml").write_text(BARE)
    where = ("--grid", tmp_path / "grid.yaml", "--root", study_dir.path.parent)
    for words in (("plan", *where), ("submit", *where, "--local"), ("collect", study_dir.path)):
        done = nllgen(*words)
        assert done.returncode == 0, done.stderr
        said = " ".join(done.stdout.split())
        assert "2 without the weights that they were measured on: their numbers count" in said
        assert (
            f"to train again: nllgen retry {study_dir.path if words[0] != 'plan' else 'tiny'} {' '.join(names)}" in said
        )


def test_status_shows_them_apart_from_what_is_done(robbed: tuple[StudyDir, list[str]], nllgen: Run) -> None:
    study_dir, names = robbed
    answer = json.loads(nllgen("status", "--json", study_dir.path).stdout)
    rows = {row["name"]: row for row in answer["tasks"] if row["state"] == "weightless"}
    assert (list(rows), answer["counts"]["weightless"]) == (names, 2)
    assert "of another run" in rows[names[0]]["detail"]
    assert "gone" in rows[names[1]]["detail"]


def test_nothing_is_trained_again_unasked(robbed: tuple[StudyDir, list[str]], nllgen: Run, tmp_path: Path) -> None:
    study_dir, _ = robbed
    (tmp_path / "grid.yaml").write_text(BARE)
    plan = json.loads(
        nllgen("plan", "--json", "--grid", tmp_path / "grid.yaml", "--root", study_dir.path.parent).stdout
    )
    assert plan["num_run"] == 0
    assert "nothing to try again" in nllgen("retry", study_dir.path, "--dry-run").stdout
