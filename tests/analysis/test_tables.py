"""Tables as frames, on studies with known answers."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from nllgen_analysis import to_frames
from nllgen_analysis.tables import (
    final_table,
    printed_resources,
    printed_table,
    provenance_table,
    resources_table,
    to_csv,
    warnings_of,
)
from nllgen_analysis.text import estimate, number, plus_minus

from nllgen.storage.hdf5_data import Array
from nllgen.storage.study_file import StudyFile
from nllgen.study.config import Cell
from tests.analysis.conftest import STEPS, build_study, make_cell


def test_group_without_any_result_keeps_its_row() -> None:
    frames = to_frames(build_study([make_cell("W"), make_cell("O1")], missing=(1,)))
    table = printed_table(frames).set_index("degree")
    assert table.loc["O1", "seeds"] == "0"


def test_final_table_is_the_closed_form() -> None:
    frames = to_frames(build_study([make_cell("U2", seed=s) for s in range(3)], truth=False))
    row = final_table(frames).set_index(["metric", "weights"]).loc[("kl_nats", "last")]
    assert row["mean"] == pytest.approx(41 + 800 * np.exp(-1000 / 120))
    assert row["high"] - row["mean"] == pytest.approx(4.302652729696142 / np.sqrt(3))
    assert len(row["cell_ids"].split()) == 3


def test_different_truths_give_a_warning(study: StudyFile) -> None:
    study.cells["truth_sha256"][0], kept = "other", study.cells["truth_sha256"][0]
    try:
        assert any("2 different truths" in text for text in warnings_of(to_frames(study)))
    finally:
        study.cells["truth_sha256"][0] = kept


def test_games_that_were_dead_at_their_end_are_named() -> None:
    cells = [make_cell("W", "nsgan", seed=seed) for seed in range(3)]

    def dead(cell: Cell, step: Array) -> dict[str, Array]:
        since = 200.0 if cell.seed in (1, 2) else np.nan
        back = step == STEPS if cell.seed == 2 else np.zeros(len(step), bool)  # it has come back by the end
        return {"dead_step": np.where((step < 200) | back, np.nan, since)}

    (text,) = [text for text in warnings_of(to_frames(build_study(cells, override=dead))) if "no gradient" in text]
    assert text.startswith(f"Games whose generator had no gradient at the end: {cells[1].id} since step 200. They")
    assert not any("no gradient" in text for text in warnings_of(to_frames(build_study(cells))))


def test_provenance_counts_results(study: StudyFile) -> None:
    table = provenance_table(to_frames(study)).set_index("what")
    assert table.loc["host", "results"] == len(study.cells["id"])
    assert table.loc["asset lenet", "value"] == "abc"


def test_numbers_as_text() -> None:
    assert number(-1234.567, 4) == "−1,235"
    assert number(0.0001234) == "0.000123"
    assert number(float("nan")) == "–"
    assert number(3.2e9) == "3.20e+09"
    assert plus_minus(123.456, 125.956) == "123.5 ± 2.5"
    assert plus_minus(123.456, float("nan")) == "123.5"
    assert estimate(1.0, float("nan"), 1) == "1.000 (one seed, no interval)"


def test_final_table_has_the_interquartile_mean() -> None:
    outlier = lambda cell, step: {"kl_nats": (1.0, 2.0, 3.0, 4.0, 900.0)[cell.seed]}  # noqa: E731
    frames = to_frames(build_study([make_cell("U2", seed=s) for s in range(5)], truth=False, override=outlier))
    row = final_table(frames).set_index(["metric", "weights"]).loc[("kl_nats", "last")]
    assert (row["mean"], row["iqm"]) == (182.0, 3.0)
    assert row["iqm_low"] < 3.0 < row["iqm_high"]


def test_resources_are_steps_times_seconds_a_step() -> None:
    cells = [make_cell("W", seed=s) for s in range(3)]
    table = resources_table(to_frames(build_study(cells, truth=False))).set_index("student")
    hours = STEPS * 0.05 / 3600
    assert table.loc["W", ["hours_per_cell", "hours", "core_hours"]].tolist() == pytest.approx(
        [hours, 3 * hours, 3 * hours]
    )
    assert table.loc["W", "cell_ids"].split() == [cell.id for cell in cells]
    assert table.loc["all", "core_hours"] == pytest.approx(3 * hours)


def test_resources_multiply_by_threads_and_keep_devices_apart() -> None:
    study = build_study([make_cell("W", seed=s) for s in range(2)], truth=False)
    study.cells["num_threads"][:] = 4
    study.cells["device"][1] = "cuda"
    table = resources_table(to_frames(study))
    assert list(table["device"].dropna()) == ["cpu", "cuda"]
    assert table["core_hours"].iloc[-1] == pytest.approx(4 * table["hours"].iloc[-1])


def test_a_diverged_cell_took_the_steps_that_it_logged() -> None:
    frames = to_frames(build_study([make_cell("W")], diverged=(0,), truth=False))
    assert resources_table(frames)["steps"].iloc[0] == 498  # the last that conftest logs before 500


def test_the_truths_training_is_among_the_resources() -> None:
    table = resources_table(to_frames(build_study([make_cell("W")])))
    assert list(table["student"]) == ["truth", "W", "all"]


def test_resources_without_results_are_empty() -> None:
    frames = to_frames(build_study([make_cell("W")], missing=(0,), truth=False, samples=0))
    assert resources_table(frames).empty
    assert printed_resources(frames).empty


def test_counts_are_printed_as_counts() -> None:
    printed = printed_resources(to_frames(build_study([make_cell("O2")], truth=False)))
    assert printed.loc[0, ["parameters", "cells", "device"]].tolist() == ["9,000,000", "1", "cpu, 1"]


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "-", "-1e"])
def test_a_formula_is_a_text_to_a_spreadsheet(text: str) -> None:
    (row,) = pd.read_csv(io.BytesIO(to_csv(pd.DataFrame({"host": [text, "a=b"]}))), nrows=1, dtype=str)["host"]
    assert row == f"'{text}"


@pytest.mark.parametrize("text", ["-1", "+2.5", "-.5e-3", "-inf", "a=b", "", "−1 … 2"])
def test_a_number_and_a_text_keep_their_form_in_csv(text: str) -> None:
    assert to_csv(pd.DataFrame({"a": [text, "x"], "b": [-1.5, 2]})).decode() == f"a,b\n{text or ''},-1.5\nx,2\n"
