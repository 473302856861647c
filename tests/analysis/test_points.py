"""Figures whose points are cells: likelihood, cost and precision against quality, compared as data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.lines import Line2D
from nllgen_analysis import Frames, to_frames
from nllgen_analysis.figures import FigureResult
from nllgen_analysis.figures.points import cost_data, draw_cost, draw_plane, draw_scatter, plane_data, scatter_data
from nllgen_analysis.figures.style import COLUMN_IN
from nllgen_analysis.text import spans

from nllgen.storage.hdf5_data import Array
from nllgen.storage.study_file import StudyFile
from nllgen.study.config import Cell
from tests.analysis.conftest import STEPS, build_study, default_cells, frechet, kl, make_cell
from tests.analysis.drawing import as_drawn, as_not_drawn


@pytest.fixture(scope="module")
def frames(study: StudyFile) -> Frames:
    return to_frames(study)


def in_plane(cell: Cell, step: Array) -> dict[str, Any]:
    """Return precision and recall by degree and seed, and their floors."""
    recall = {"U2": 0.4, "W": 0.6}[cell.degree] + 0.01 * cell.seed
    return {"precision_lenet": 0.9, "recall_lenet": recall, "precision_floor_lenet": 0.95, "recall_floor_lenet": 0.92}


def test_scatter_has_one_point_a_cell(frames: Frames) -> None:
    cells = scatter_data(frames, "lenet").query("kind == 'cell'")
    assert len(cells) == 30
    assert set(cells.loc[cells["panel"] == "MNIST", "x_label"]) == {"test NLL (bits per dimension)"}
    own = cells[(cells["group"] == "U2 · nll · synthetic, N = 1,000") & (cells["seed"] == 2)]
    expected = make_cell("U2", seed=2)
    assert own["x"].item() == pytest.approx(float(kl(expected, STEPS)))
    assert own["y"].item() == pytest.approx(float(frechet(expected, STEPS)))


def test_scatter_has_the_mean_of_every_group_with_its_interval(frames: Frames) -> None:
    data = scatter_data(frames, "lenet")
    mean = data[(data["kind"] == "mean") & (data["group"] == "U2 · nll · synthetic, N = 1,000")].iloc[0]
    assert mean["x"] == pytest.approx(float(kl(make_cell("U2", seed=1), STEPS)))
    assert mean["x_high"] - mean["x"] == pytest.approx(4.302652729696142 / np.sqrt(3))
    assert mean["y_high"] - mean["y"] == pytest.approx(0.2 * 4.302652729696142 / np.sqrt(3))


def test_scatter_has_the_rank_correlation_with_its_interval_in_its_caption(frames: Frames) -> None:
    caption = as_drawn(draw_scatter(frames)).caption
    told = [(text, cells) for text, cells in spans(caption) if "ρ = " in text]
    assert [len(cells) for _, cells in told] == [6, 24]
    assert all("…" in text for text, _ in told)


def test_scatter_of_one_seed_says_that_there_is_no_interval() -> None:
    assert "one seed, no interval" in as_drawn(draw_scatter(to_frames(build_study(default_cells(1))))).caption


def test_cost_is_steps_times_seconds_a_step(frames: Frames) -> None:
    data = cost_data(frames)
    cells = data[data["kind"] == "cell"]
    assert cells["x"].to_numpy() == pytest.approx(STEPS * 0.05)
    assert set(data["panel"]) == {
        "MNIST, test NLL", "MNIST, Fréchet distance (LeNet)",
        "synthetic MNIST, KL(p‖q) on test images", "synthetic MNIST, Fréchet distance (LeNet)",
    }  # fmt: skip
    assert len(cells[cells["panel"] == "synthetic MNIST, Fréchet distance (LeNet)"]) == 24


def test_cost_of_the_truths_own_weights_is_not_drawn() -> None:
    starts = [make_cell("W*").model_copy(update={"paradigm": make_cell("W").paradigm.model_copy(update={"steps": 0})})]
    assert as_not_drawn(draw_cost(to_frames(build_study(starts, truth=False)))).reason


def test_plane_holds_precision_recall_and_their_floor() -> None:
    cells = [make_cell(degree, seed=seed) for degree in ("U2", "W") for seed in range(3)]
    data = plane_data(to_frames(build_study(cells, truth=False, override=in_plane)), "lenet")
    means = data[data["kind"] == "mean"].set_index("student")
    assert means["x"].to_dict() == pytest.approx({"U2": 0.41, "W": 0.61})
    assert means["y"].to_dict() == pytest.approx({"U2": 0.9, "W": 0.9})
    reference = data[data["kind"] == "reference"]
    assert reference[["x", "y"]].to_numpy() == pytest.approx(np.array([[0.92, 0.95]]))


def test_plane_without_the_metric_is_not_drawn(frames: Frames) -> None:
    assert as_not_drawn(draw_plane(frames)).reason


def test_a_figure_of_one_panel_is_as_wide_as_a_column() -> None:
    drawn = as_drawn(draw_scatter(to_frames(build_study([make_cell("W", seed=s) for s in range(3)], truth=False))))
    assert drawn.figure.get_figwidth() == COLUMN_IN == 3.4


@pytest.mark.parametrize("draw", [draw_scatter, draw_cost])
def test_a_legend_has_a_key_for_every_arm(draw: Callable[[Frames], list[FigureResult]]) -> None:
    cells = [make_cell("W", lr=1e-4 * (1 + rank)) for rank in range(20)]
    item = as_drawn(draw(to_frames(build_study(cells, truth=False, samples=0))))
    keys = [key for key in item.figure.legends[0].legend_handles if isinstance(key, Line2D)]
    arms = {str(key.get_label()): str(key.get_color()) for key in keys if str(key.get_label()).startswith("W")}
    assert len(arms) == len(set(arms.values())) == 20


@pytest.mark.parametrize("draw", [draw_scatter, draw_cost])
def test_cells_without_a_value_are_named_in_data_and_caption(draw: Callable[[Frames], list[FigureResult]]) -> None:
    cells = [make_cell("W", seed=s) for s in range(4)]
    drawn = as_drawn(draw(to_frames(build_study(cells, truth=False, missing=(1,), diverged=(2,)))))
    absent = drawn.data[drawn.data["kind"] == "none"].set_index("outcome")["cell_id"]
    assert absent.to_dict() == {"missing": cells[1].id, "diverged": cells[2].id}
    assert ("1 diverged", (cells[2].id,)) in spans(drawn.caption)
    assert ("1 missing", (cells[1].id,)) in spans(drawn.caption)
