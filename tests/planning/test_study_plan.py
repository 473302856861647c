"""A study file is read and planned in agreement with what its study directory holds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nllgen.launch.freeze import freeze
from nllgen.planning import study_plan
from nllgen.planning.study_plan import elsewhere_note, load_study_at, plan_study_at
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Precision, Study
from nllgen.study.load import PrecisionOf, parse_study

GRID = """
name: tiny
truth:
  data: {source: mnist, image_size: 7, num_val: 50, num_test: 50}
  flow: {width: 2, blocks: 0, scales: 1}
  paradigm: {name: nll, steps: 10, batch_size: 16, eval_every: 5}
dataset: {num_train: 300, num_val: 50, num_test: 50, num_entropy: 50}
metrics: {frechet: [], num_samples: 50, num_train_eval: 50, num_kept: 4}
cells:
  - data: {source: synthetic, num_train: 100, num_val: 50, num_test: 50}
    degree: W
    paradigm: {name: nll, steps: 10, batch_size: 16, eval_every: 5}
    precision: CELLS
    seed: [0, 1]
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(GRID.replace("CELLS", "fp32"))
    return path


def frozen(grid: Path, precision: Precision) -> StudyDir:
    return freeze(parse_study(grid.read_text(), "g", precision=precision), grid.parent)[0]


def load(grid: Path) -> Study:
    return load_study_at(str(grid), grid.parent, lambda source: True)


# precision


@pytest.mark.parametrize("cells", ["fp32", "bf16", "auto"])
@pytest.mark.parametrize("then", ["fp32", "bf16"])
@pytest.mark.parametrize("now", ["fp32", "bf16"])
def test_an_unchanged_grid_is_its_own_frozen_study_on_any_machine(
    grid: Path, monkeypatch: pytest.MonkeyPatch, cells: str, then: Precision, now: Precision
) -> None:
    grid.write_text(GRID.replace("CELLS", cells))
    study_dir = frozen(grid, then)
    monkeypatch.setattr(study_plan, "auto_precision", lambda: now)
    assert load(grid) == study_dir.read_study()


@pytest.mark.parametrize("now", ["fp32", "bf16"])
def test_a_grid_that_grew_keeps_the_precision_it_had(
    grid: Path, monkeypatch: pytest.MonkeyPatch, now: Precision
) -> None:
    frozen(grid, "bf16")
    monkeypatch.setattr(study_plan, "auto_precision", lambda: now)
    grid.write_text(grid.read_text().replace("[0, 1]", "[0, 1, 2]"))
    study = load(grid)
    assert study.truth is not None
    assert (study.truth.precision, len(study.cells)) == ("bf16", 3)


def test_a_grid_that_has_no_other_precision_is_this_machines(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 two of its cells would be equal."""
    frozen(grid, "fp32")
    monkeypatch.setattr(study_plan, "auto_precision", lambda: "fp32")
    grid.write_text(GRID.replace("CELLS", "[auto, bf16]").replace("num_samples: 50", "num_samples: 60"))
    study = load(grid)
    assert study.truth is not None
    assert study.truth.precision == "fp32"


def test_a_study_frozen_in_another_precision_is_expanded_once(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid.write_text(GRID.replace("CELLS", "auto"))
    frozen(grid, "fp32")
    monkeypatch.setattr(study_plan, "auto_precision", lambda: "bf16")
    precisions: list[str] = []

    def counted(text: str, name: str, *, precision: PrecisionOf, **others: Any) -> Study:
        study = parse_study(text, name, precision=precision, **others)
        precisions.extend(cell.precision for cell in study.cells)
        return study

    monkeypatch.setattr("nllgen.study.load.parse_study", counted)
    load(grid)
    assert precisions == ["fp32", "fp32"]


# plans


def test_a_data_set_that_cannot_be_read_is_damaged(grid: Path) -> None:
    study_dir = frozen(grid, "fp32")
    study = study_dir.read_study()
    assert study.truth is not None
    path = study_dir.dataset(study.truth.id)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"hello")
    row = next(row for row in plan_study_at(study, grid.parent, 1).rows if row.kind == "dataset")
    assert (row.action, "damaged" in row.reason, "too small" in row.reason) == ("run", True, False)
    assert str(path) in row.reason


# a study that was renamed


def test_results_of_a_renamed_study_are_mentioned_and_count_once_copied(
    bare_study: StudyDir, copy_of: Callable[[StudyDir], StudyDir]
) -> None:
    old = copy_of(bare_study)
    root, cells = old.path.parent, old.read_study().cells
    study = old.read_study().model_copy(update={"name": "renamed"})
    old.cell(cells[0].id).result.unlink()
    plan = plan_study_at(study, root, 1)
    assert plan.elsewhere == {old.path.name: len(cells) - 1}
    assert elsewhere_note(plan, old.path.name).startswith(f"{len(cells) - 1} of these cells have a result in the study")
    for name in ("truths", "cells"):
        shutil.copytree(old.path / name, root / "renamed" / name)
    plan = plan_study_at(study, root, 1)
    assert [row.id for row in plan.rows if row.action == "run"] == [cells[0].id]
    assert plan.elsewhere == {}
    freeze(study, root)
    assert plan_study_at(study, root, 1).num_run == 1


def test_a_directory_that_cannot_be_read_is_no_renamed_study(grid: Path) -> None:
    for name in ("empty", "file"):
        (grid.parent / name).mkdir()
        (grid.parent / name / "study.yaml").touch()
    (grid.parent / "file" / "cells").touch()
    assert plan_study_at(load(grid), grid.parent, 1).elsewhere == {}
