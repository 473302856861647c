"""The table below a figure has the numbers that the figure shows."""

from __future__ import annotations

import numpy as np
import pytest
from nllgen_analysis.figure_numbers import figure_numbers
from nllgen_analysis.figures import Drawn, draw_all
from nllgen_analysis.frames import Frames, to_frames
from nllgen_analysis.page_tables import Table

from nllgen.storage.study_file import StudyFile
from tests.analysis.conftest import ENTROPY, STEPS, kl, make_cell


@pytest.fixture(scope="module")
def frames(spoilt: StudyFile) -> Frames:
    return to_frames(spoilt)


@pytest.fixture(scope="module")
def tables(frames: Frames) -> dict[str, Table]:
    return {item.name: figure_numbers(item) for item in draw_all(frames) if isinstance(item, Drawn)}


def row_of(table: Table, *texts: str) -> dict[str, float | None]:
    (row,) = (row for row in table.rows if [value.text for value in row[: len(texts)]] == list(texts))
    return dict(zip(table.columns, [value.key for value in row], strict=True))


def test_of_a_curve_the_last_mean_is_shown(tables: dict[str, Table]) -> None:
    cells = [make_cell("W", seed=seed) for seed in range(3)]
    row = row_of(tables["nll_curves_synthetic_1000"], "nll, validation images", "W")
    assert row["mean"] == pytest.approx(np.mean([ENTROPY + kl(cell, STEPS) for cell in cells]))


def test_of_points_both_coordinates_are_shown(tables: dict[str, Table]) -> None:
    table = tables["nll_frechet_lenet"]
    assert table.columns.count("95 % interval") == 2
    assert "Fréchet distance (LeNet features, unitless)" in table.columns


def test_a_number_leads_to_the_cells_behind_it(tables: dict[str, Table]) -> None:
    table = tables["kl_capacity"]
    row = next(row for row in table.rows if [value.text for value in row[:2]] == ["last", "O1"])
    assert set(row[table.columns.index("mean")].cells) == {make_cell("O1", seed=seed).id for seed in range(3)}


def test_every_figure_with_means_but_normalised_curves_has_numbers(tables: dict[str, Table]) -> None:
    without = {name for name, table in tables.items() if not table.rows}
    assert without == {name for name in tables if name.startswith(("samples", "convergence"))}


def test_panels_have_the_titles_that_the_figure_gives_them(tables: dict[str, Table]) -> None:
    panels = {row[0].text for row in tables["nash_synthetic_1000"].rows}
    assert "distance from the truth" in panels
    assert not panels & {"kl", "loss_disc"}
