"""nllgen_analysis.load: a study.h5 as documented pandas frames."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nllgen_analysis
import pytest
from nllgen_analysis.frames import KEYS, join_cells

from nllgen.errors import CorruptFileError
from nllgen.storage.schema import CELL_NUMBER_COLUMNS, CELL_TEXT_COLUMNS, EVAL_COLUMNS, FINAL_COLUMNS
from nllgen.storage.study_file import StudyFile
from nllgen.study.config import Cell, DataConfig, FlowConfig
from tests.analysis.conftest import DIVERGED, GRID, MISSING, build_study, default_cells, make_cell

STORED = {*CELL_TEXT_COLUMNS, *CELL_NUMBER_COLUMNS}  # documented in docs/schema.md
Saved = Callable[[StudyFile], Path]


def test_a_study_is_loaded_from_a_path_or_a_string(saved: Saved) -> None:
    cells = default_cells()
    path = saved(build_study(cells, missing=(MISSING,), diverged=DIVERGED, samples=1))
    frames = nllgen_analysis.load(path)
    assert frames.counts == {"done": len(cells) - 3, "diverged": 2, "missing": 1}
    assert list(frames.cells["id"])[:-1] == [cell.id for cell in cells]
    assert frames.configs[: len(cells)] == tuple(cells)
    assert nllgen_analysis.load(str(path)).cells.equals(frames.cells)


def test_every_column_of_the_cells_is_documented(study: StudyFile) -> None:
    documented = {*re.findall(r"``(\w+)``", str(nllgen_analysis.Frames.__doc__)), *STORED}
    assert set(nllgen_analysis.to_frames(study).cells.columns) <= documented


def test_evaluations_have_every_metric_and_the_keys_of_their_cell(study: StudyFile) -> None:
    frames = nllgen_analysis.to_frames(study)
    assert {*KEYS, *EVAL_COLUMNS} <= set(frames.eval.columns)
    assert {*KEYS, *FINAL_COLUMNS} <= set(frames.final.columns)
    first = frames.eval[frames.eval["cell"] == 0]
    assert list(first["step"]) == list(GRID)
    assert set(first["id"]) == {frames.cells["id"][0]}


def test_history_gets_the_keys_by_a_join(study: StudyFile) -> None:
    frames = nllgen_analysis.to_frames(study)
    rows = join_cells(frames.history[frames.history["cell"] == 3], frames.cells)
    assert set(rows["id"]) == {frames.cells["id"][3]}


def test_settings_name_the_image_size_only_where_there_are_several() -> None:
    data = DataConfig(source="mnist", image_size=28, num_train="all")
    large = Cell(data=data, flow=FlowConfig(shape=(1, 28, 28)))
    one, two = (
        nllgen_analysis.to_frames(build_study(cells, truth=False)).cells
        for cells in ([large], [large, make_cell("W", source="mnist")])
    )
    assert list(one["setting"]) == ["MNIST, N = 50,000"]
    assert list(two["setting"]) == ["MNIST 28×28, N = 50,000", "MNIST 14×14, N = 50,000"]
    assert list(two["slug"]) == ["mnist_all_28px", "mnist_all_14px"]


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.h5").write_text("no HDF5")
    with pytest.raises(CorruptFileError):
        nllgen_analysis.load(tmp_path / "study.h5")
