"""nllgen_analysis.export: what is written is what the frames hold, and no file is replaced unasked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nllgen_analysis
import numpy as np
import pandas as pd
import pytest
from nllgen_analysis.export import Format, export
from nllgen_analysis.frames import Frames
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nllgen.errors import ConfigError, MachineError
from nllgen.storage.event_file import run_name
from nllgen.storage.study_file import StudyFile
from tests.analysis.conftest import MISSING, build_study, default_cells

TABLES = ("cells", "eval", "final", "history")
Saved = Callable[[StudyFile], Path]


@pytest.fixture(scope="module")
def frames(study: StudyFile) -> Frames:
    return nllgen_analysis.to_frames(study)


@pytest.mark.parametrize("name", TABLES)
def test_csv_holds_every_number_exactly(frames: Frames, tmp_path: Path, name: str) -> None:
    export(frames, tmp_path / "out", Format.CSV)
    read = pd.read_csv(tmp_path / "out" / f"{name}.csv", dtype=str, keep_default_na=False)
    frame = getattr(frames, name)
    assert list(read.columns) == list(frame.columns)
    for column in frame.select_dtypes("number"):
        np.testing.assert_array_equal(
            read[column].replace("", "nan").map(float).to_numpy(), frame[column].to_numpy(float)
        )


@pytest.mark.parametrize("name", [*TABLES, "datasets"])
def test_parquet_gives_the_frames_back(frames: Frames, tmp_path: Path, name: str) -> None:
    export(frames, tmp_path, Format.PARQUET)
    read = pd.read_parquet(tmp_path / f"{name}.parquet")
    pd.testing.assert_frame_equal(read, getattr(frames, name), check_dtype=False)


def test_parquet_carries_the_units(frames: Frames, tmp_path: Path) -> None:
    export(frames, tmp_path, Format.PARQUET)
    assert pd.read_parquet(tmp_path / "eval.parquet").attrs["units"]["kl_nats"] == "nats"


def test_images_come_back_from_both_formats(frames: Frames, tmp_path: Path) -> None:
    export(frames, tmp_path, Format.CSV)
    export(frames, tmp_path, Format.PARQUET)
    stored = np.load(tmp_path / "samples.npz")
    np.testing.assert_array_equal(stored["x"][stored["cell"] == 3], frames.images_of(3))
    rows = pd.read_parquet(tmp_path / "samples.parquet")
    images = [row.image.reshape(row.shape) for row in rows[rows["cell"] == 3].itertuples()]
    np.testing.assert_array_equal(np.stack(images), frames.images_of(3))


def test_units_and_meanings_are_a_table_of_their_own(frames: Frames, tmp_path: Path) -> None:
    export(frames, tmp_path, Format.CSV)
    columns = pd.read_csv(tmp_path / "columns.csv")
    assert set(columns.loc[columns["frame"] == "final", "column"]) == set(frames.final.columns)


def test_a_run_in_tensorboard_has_the_curves_of_its_cell(frames: Frames, tmp_path: Path) -> None:
    export(frames, tmp_path, Format.TENSORBOARD)
    reader = EventAccumulator(
        str(tmp_path / run_name(frames.configs[2], "cell")), size_guidance={"scalars": 0}
    ).Reload()
    curve = np.array([(point.step, point.value) for point in reader.Scalars("eval/kl_nats")])
    rows = frames.eval[frames.eval["cell"] == 2]
    np.testing.assert_allclose(curve, rows[["step", "kl_nats"]].to_numpy(float), rtol=1e-6)
    assert len(reader.Images("samples")) == 1


def test_a_metric_without_a_value_has_no_tag(frames: Frames, tmp_path: Path) -> None:
    export(frames, tmp_path, Format.TENSORBOARD)
    tags = EventAccumulator(str(tmp_path / run_name(frames.configs[2], "cell"))).Reload().Tags()["scalars"]
    assert "eval/frechet_lenet" in tags
    assert "eval/frechet_inception" not in tags


def test_a_missing_cell_is_no_run(tmp_path: Path) -> None:
    cells = default_cells(1)
    frames = nllgen_analysis.to_frames(build_study(cells, missing=(MISSING,)))
    runs = export(frames, tmp_path, Format.TENSORBOARD)
    assert len(runs) == len(cells)  # and the truth's training
    assert run_name(cells[MISSING], "cell") not in [run.name for run in runs]


def test_a_table_without_rows_gives_no_scalars(tmp_path: Path) -> None:
    cells = default_cells(1)
    frames = nllgen_analysis.to_frames(build_study(cells, truth=False, diverged=tuple(range(len(cells)))))
    run = export(frames, tmp_path, Format.TENSORBOARD)[0]
    tags = EventAccumulator(str(run)).Reload().Tags()["scalars"]
    assert "eval/frechet_lenet" in tags
    assert not [tag for tag in tags if tag.startswith(("final", "test"))]


def test_a_study_without_results_has_no_runs(tmp_path: Path) -> None:
    cells = default_cells(1)
    frames = nllgen_analysis.to_frames(build_study(cells, truth=False, missing=tuple(range(len(cells)))))
    assert export(frames, tmp_path, Format.TENSORBOARD) == []


@pytest.mark.parametrize("to", Format)
def test_nothing_is_written_where_one_file_exists(frames: Frames, tmp_path: Path, to: Format) -> None:
    first = tmp_path / export(frames, tmp_path / "first", to)[1].name
    first.write_text("mine")
    with pytest.raises(ConfigError, match="not replaced"):
        export(frames, tmp_path, to)
    assert first.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["first", first.name])


@pytest.mark.parametrize("to", Format)
def test_an_export_is_replaced_on_request(frames: Frames, tmp_path: Path, to: Format) -> None:
    before = [sorted(tmp_path.rglob("*")) for _ in range(2) if export(frames, tmp_path, to, replace=True)]
    assert len(before[0]) == len(before[1])


def test_a_missing_writer_of_parquet_is_named_with_its_extra(
    frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MachineError) as caught:
        export(frames, tmp_path, Format.PARQUET)
    assert caught.value.hint == "pip install 'nllgen[parquet]'"
    assert list(tmp_path.iterdir()) == []
