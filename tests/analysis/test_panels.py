"""The layout of panels, and the cells that a figure names because they are not drawn."""

from __future__ import annotations

import pandas as pd
import pytest
from nllgen_analysis import to_frames
from nllgen_analysis.figures.panels import Grid, finish, with_means
from nllgen_analysis.figures.style import COLUMN_IN, WIDTH_IN
from nllgen_analysis.text import spans

from tests.analysis.conftest import build_study, make_cell

GRID = Grid(columns=2, x_label="x", y_label="y")


def test_panels_fill_rows_and_the_rest_is_hidden() -> None:
    figure, axes = GRID.draw(["a", "b", "c"])
    assert [(name, ax.get_title()) for name, ax in axes.items()] == [("a", "a"), ("b", "b"), ("c", "c")]
    assert [ax.get_visible() for ax in figure.axes] == [True, True, True, False]


def test_only_outer_panels_have_labels() -> None:
    _, axes = GRID.draw(["a", "b", "c"])
    assert [ax.get_xlabel() for ax in axes.values()] == ["", "x", "x"]
    assert [ax.get_ylabel() for ax in axes.values()] == ["y", "", "y"]


@pytest.mark.parametrize(
    ("grid", "panels", "width"),
    [(GRID, "a", COLUMN_IN), (GRID, "ab", WIDTH_IN), (Grid(is_wide=True), "a", WIDTH_IN)],
)
def test_a_figure_is_as_wide_as_a_column_or_a_page(grid: Grid, panels: str, width: float) -> None:
    figure, _ = grid.draw(list(panels))
    assert figure.get_figwidth() == width


def test_means_follow_the_seeds() -> None:
    data = with_means(pd.DataFrame({"panel": ["a", "a", "b"], "value": [1.0, 3.0, 5.0]}), ["panel"])
    assert list(data["kind"]) == ["seed", "seed", "seed", "mean", "mean"]
    assert list(data.loc[data["kind"] == "mean", "value"]) == [2.0, 5.0]


def test_cells_that_are_not_drawn_are_named_by_their_outcome() -> None:
    frames = to_frames(
        build_study([make_cell("W", seed=s) for s in range(4)], truth=False, missing=(1,), diverged=(2,))
    )
    ids = list(frames.cells["id"])
    figure, _ = GRID.draw(["a"])
    drawn = finish("name", "title", figure, pd.DataFrame({"cell_id": [ids[0]]}), ["One.", ""], frames.cells)
    assert list(drawn.data.loc[drawn.data["kind"] == "none", "cell_id"]) == ids[1:]
    assert spans(drawn.caption) == [
        ("One. Not drawn, of the 4 cells that belong here: ", ()),
        ("1 without a value", (ids[3],)), (", ", ()), ("1 diverged", (ids[2],)), (", ", ()), ("1 missing", (ids[1],)),
        (".", ()),
    ]  # fmt: skip


def test_a_figure_of_all_its_cells_has_its_caption_alone() -> None:
    frames = to_frames(build_study([make_cell("W")], truth=False))
    figure, _ = GRID.draw(["a"])
    drawn = finish(
        "name", "title", figure, pd.DataFrame({"cell_id": frames.cells["id"]}), ["One.", "Two."], frames.cells
    )
    assert drawn.caption == "One. Two."
