"""The figure of precision–recall curves."""

from __future__ import annotations

from typing import Any

import pytest
from nllgen_analysis.figure_numbers import figure_numbers
from nllgen_analysis.figures.pr_curve import MIDDLE, SLOPES, draw_pr_curve
from nllgen_analysis.figures.style import Drawn, NotDrawn
from nllgen_analysis.frames import to_frames

from nllgen.storage.hdf5_data import Array
from nllgen.study.config import Cell
from tests.analysis.conftest import build_study, make_cell

CELLS = [make_cell(degree, "nll", seed=seed) for degree in ("U1", "W") for seed in range(3)]


def curve(cell: Cell, step: Array) -> dict[str, Any]:
    """Give U1 half of what two perfect sets have, at every ratio."""
    height = 0.5 if cell.degree == "U1" else 1.0
    values = {f"pr_alpha_{point}_lenet": height * min(1.0, slope) for point, slope in SLOPES.items()}
    return values | {f"pr_alpha_{point}_floor_lenet": min(1.0, slope) for point, slope in SLOPES.items()}


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    (figure,) = draw_pr_curve(to_frames(build_study(CELLS, samples=0, override=curve)))
    assert isinstance(figure, Drawn)
    return figure


def test_every_arm_has_its_mean_curve_and_one_of_each_seed(drawn: Drawn) -> None:
    counts = drawn.data.groupby("kind").size()
    assert (counts["seed"], counts["mean"], counts["floor"]) == (6 * 9, 2 * 9, 9)


def test_precision_over_recall_is_the_slope_of_its_point(drawn: Drawn) -> None:
    data = drawn.data
    assert (data["value"] / data["recall"]).to_numpy() == pytest.approx(data["point"].map(SLOPES).to_numpy())


def test_the_mean_is_that_of_the_precision_at_one_ratio(drawn: Drawn) -> None:
    means = drawn.data[(drawn.data["kind"] == "mean") & (drawn.data["point"] == MIDDLE)]
    assert dict(zip(means["series"], means["value"], strict=True)) == pytest.approx({"U1": 0.5, "W": 1.0})


def test_the_caption_has_the_middle_of_every_arm_and_the_floor(drawn: Drawn) -> None:
    assert "Where both are equal, LeNet features: ⟦U1 0.5000 ± 0 (n = 3)|" in drawn.caption
    assert "floor 1" in drawn.caption


def test_the_numbers_of_the_page_are_those_of_the_caption(drawn: Drawn) -> None:
    table = figure_numbers(drawn)
    rows = {row[0].text: row[table.columns.index("mean")] for row in table.rows}
    assert len(table.rows) == 2
    assert {arm: value.key for arm, value in rows.items()} == pytest.approx({"U1": 0.5, "W": 1.0})
    assert set(rows["W"].cells) == {cell.id for cell in CELLS if cell.degree == "W"}


def test_a_study_without_curves_says_so() -> None:
    (figure,) = draw_pr_curve(to_frames(build_study(CELLS, samples=0)))
    assert isinstance(figure, NotDrawn)
    assert "no final metrics have precision–recall curves" in figure.reason


def test_diverged_cells_alone_are_not_drawn() -> None:
    frames = to_frames(build_study(CELLS, samples=0, override=curve, diverged=tuple(range(6))))
    assert isinstance(draw_pr_curve(frames)[0], NotDrawn)
