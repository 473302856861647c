"""nllgen_analysis: a study as documented pandas frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nllgen_analysis
import numpy as np
import pytest
from nllgen_analysis.columns import COLUMNS, KEYS
from nllgen_analysis.frames import join_cells

from nllgen.errors import CorruptFileError
from nllgen.storage.schema import EVAL_COLUMNS, FINAL_COLUMNS
from nllgen.storage.study_file import StudyFile
from nllgen.study.config import Cell, DataConfig, FlowConfig
from tests.analysis.conftest import DIVERGED, GRID, MISSING, build_study, default_cells, make_cell

Saved = Callable[[StudyFile], Path]


def test_a_study_is_loaded_from_a_path_or_a_string(saved: Saved) -> None:
    cells = default_cells()
    path = saved(build_study(cells, missing=(MISSING,), diverged=DIVERGED, samples=1))
    frames = nllgen_analysis.load(path)
    assert frames.counts == {"done": len(cells) - 3, "diverged": 2, "missing": 1}
    assert list(frames.cells["id"])[:-1] == [cell.id for cell in cells]
    assert frames.configs[: len(cells)] == tuple(cells)
    assert nllgen_analysis.load(str(path)).cells.equals(frames.cells)


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_is_documented_and_there(study: StudyFile, name: str) -> None:
    frame = getattr(nllgen_analysis.to_frames(study), name)
    assert set(frame.columns) == set(COLUMNS[name])


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_in_nats_or_seconds_says_so_in_its_name(name: str) -> None:
    units = {column: text.unit for column, text in COLUMNS[name].items()}
    suffixes = {"_nats": "nats", "_s": "s", "_per_dim": "bits"}
    assert [
        column
        for column, unit in units.items()
        if unit in ("nats", "s", "bits")
        and not any(column.endswith(end) and unit == of for end, of in suffixes.items())
        and column not in ("loss_disc", "loss_gen", "seconds_per_step")
    ] == []


def test_samples_have_the_images_of_their_cells(study: StudyFile) -> None:
    frames = nllgen_analysis.to_frames(study)
    np.testing.assert_array_equal(frames.images_of(2), study.samples[study.samples_cell == 2])
    assert list(frames.samples.loc[frames.samples["cell"] == 2, "number"]) == list(range(12))


def test_a_cell_without_samples_has_none_of_its_shape() -> None:
    frames = nllgen_analysis.to_frames(build_study(default_cells(1), samples=0))
    assert frames.images_of(0).shape == (0, 1, 14, 14)


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
