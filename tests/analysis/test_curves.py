"""Curves over steps and over N beyond NLL: convergence, overfit index, KL by sample size; compared as data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from nllgen_analysis import to_frames
from nllgen_analysis.figures.capacity import draw_sample_size, sample_size_data
from nllgen_analysis.figures.nash import draw_nash
from nllgen_analysis.figures.nll import (
    convergence_data,
    convergence_rows,
    draw_convergence,
    draw_nll,
    draw_overfit,
    overfit_data,
)
from nllgen_analysis.figures.style import Drawn, NotDrawn
from nllgen_analysis.text import spans

from nllgen.storage.hdf5_data import Array
from nllgen.storage.study_file import StudyFile
from nllgen.study.config import Cell, Degree
from tests.analysis.conftest import EXCESS, GRID, PARAMETERS, STEPS, build_study, make_cell
from tests.analysis.drawing import as_drawn, as_not_drawn, xs, ys


def falls(cell: Cell, step: Array) -> dict[str, Any]:
    """(1 − t)^exponent, from 500 nats down to a level by seed."""
    exponent = {"U2": 1, "W": 2}[cell.degree]
    return {"train_nll_nats": cell.seed + 500 * (1 - np.asarray(step, float) / STEPS) ** exponent}


def of_degrees(*names: Degree, seeds: int = 3, **settings: Any) -> list[Cell]:
    return [make_cell(name, seed=seed, **settings) for name in names for seed in range(seeds)]


def test_convergence_is_the_remaining_share_of_the_improvement() -> None:
    frames = to_frames(build_study(of_degrees("U2", "W"), truth=False, override=falls))
    data = convergence_data(convergence_rows(frames.eval))
    mean = data[(data["kind"] == "mean") & (data["series"] == "W")].sort_values("x")
    np.testing.assert_allclose(mean["value"], (1 - GRID / STEPS) ** 2, atol=1e-12)
    assert len(data[data["kind"] == "seed"]) == 6 * len(GRID)


def test_convergence_names_the_degrees_that_are_furthest_apart() -> None:
    cells = of_degrees("U2", "W")
    drawn = as_drawn(draw_convergence(to_frames(build_study(cells, truth=False, override=falls))))
    assert ("0.250", tuple(cell.id for cell in cells)) in spans(drawn.caption)  # t − t² at ½


def test_convergence_leaves_out_a_curve_that_does_not_fall_and_names_it() -> None:
    cells = of_degrees("U2", "W", seeds=1)
    rises = lambda cell, step: falls(cell, step) if cell.degree == "U2" else {"train_nll_nats": step}  # noqa: E731
    drawn = as_drawn(draw_convergence(to_frames(build_study(cells, truth=False, override=rises))))
    assert drawn.data.loc[drawn.data["kind"] == "none", "cell_id"].tolist() == [cells[1].id]
    assert ("1 without a value", (cells[1].id,)) in spans(drawn.caption)


def test_overfit_index_is_drawn_by_degree_for_every_paradigm(study: StudyFile) -> None:
    rows = to_frames(study).eval
    rows = rows[(rows["weights"] == "raw") & (rows["start"] == "random") & (rows["source"] == "synthetic")]
    data = overfit_data(rows)
    assert list(data["series"].unique()) == ["U2", "W", "O1"]
    mean = data[(data["kind"] == "mean") & (data["panel"] == "nsgan") & (data["series"] == "W")].sort_values("x")
    np.testing.assert_allclose(mean["value"], GRID / 100)


def test_real_data_have_no_overfit_index() -> None:
    absent = as_not_drawn(draw_overfit(to_frames(build_study([make_cell("W", source="mnist")], truth=False))))
    assert "needs synthetic data" in absent.reason


SIZES = (500, 2000, "fresh")


def sizes(seeds: int = 3) -> list[Cell]:
    return [cell for num in SIZES for cell in of_degrees("U2", "W", seeds=seeds, num=num)]


def by_size(cell: Cell, step: Array) -> dict[str, Any]:
    estimation = 0 if cell.data.num_train == "fresh" else 10_000 / int(cell.data.num_train)
    return {"kl_nats": EXCESS[cell.degree] + cell.seed + estimation}


def test_sample_size_holds_the_kl_at_every_n_and_fresh_as_the_asymptote() -> None:
    data = sample_size_data(to_frames(build_study(sizes(), truth=False, override=by_size)))
    means = data[(data["kind"] == "mean") & (data["weights"] == "last") & (data["student"] == "W")]
    values = means.set_index("num_train")["value"].to_dict()
    assert values == pytest.approx({500: 41, 2000: 26, float("inf"): 21})
    axes = as_drawn(draw_sample_size(to_frames(build_study(sizes(), truth=False, override=by_size)))).figure.axes
    levels = {round(ys(line)[0], 6) for line in axes[0].lines if line.get_linestyle() == ":"}
    assert levels == {21.0, 41.0}


def test_sample_size_has_the_asymptotic_line_of_the_well_specified_model() -> None:
    reference = sample_size_data(to_frames(build_study(sizes(), truth=False, override=by_size))).query(
        "kind == 'reference' and weights == 'last'"
    )
    np.testing.assert_allclose(reference["value"], PARAMETERS["W"] / (2 * reference["num_train"]))
    assert (reference["num_train"].min(), reference["num_train"].max()) == (500, pytest.approx(2000))


def test_one_sample_size_is_not_drawn(study: StudyFile) -> None:
    assert "fewer than two sizes" in as_not_drawn(draw_sample_size(to_frames(study))).reason


# diverged seeds stay


def early(cell: Cell, step: Array) -> dict[str, Any]:
    """Give seed 1 of NSGAN no finite value after the start."""
    lost = (cell.seed == 1) & (cell.paradigm.name == "nsgan") & (np.asarray(step) > 0)
    return {"kl_nats": np.where(lost, np.nan, 0.1 * np.asarray(step, float))}


def nash(seeds: int = 3) -> list[Cell]:
    return [make_cell("W", p, seed=s, start="truth", lr=2e-4) for p in ("nsgan", "nll") for s in range(seeds)]


def crosses(ax: Axes) -> list[tuple[float, float]]:
    """Return x and y of crosses at the upper edge, y as a fraction of the axes."""
    lines = [line for line in ax.lines if line.get_marker() == "x" and line.get_transform() != ax.transData]
    return [place for line in lines for place in zip(xs(line), ys(line), strict=True)]


def test_a_seed_that_diverged_right_after_the_truth_has_a_cross_at_the_upper_edge() -> None:
    cells = nash()
    drawn = as_drawn(draw_nash(to_frames(build_study(cells, truth=False, diverged=(1,), override=early))))
    assert crosses(drawn.figure.axes[0]) == [(500.0, 1.0)]
    seen = drawn.data[(drawn.data["panel"] == "kl") & (drawn.data["cell_id"] == cells[1].id)]
    assert set(seen["outcome"]) == {"diverged"}
    assert ("1 of the 6 cells drawn diverged", (cells[1].id,)) in spans(drawn.caption)


def test_a_seed_that_diverged_with_a_curve_has_its_cross_where_the_curve_ends() -> None:
    cells = nash()
    drawn = as_drawn(draw_nash(to_frames(build_study(cells, truth=False, diverged=(1,)))))
    ax = drawn.figure.axes[0]
    assert crosses(ax) == []
    (cross,) = (line for line in ax.lines if line.get_marker() == "x" and xs(line))
    assert (xs(cross)[0], ys(cross)[0]) == pytest.approx((400.0, 0.2 * 400 * 1.1))


def test_seeds_without_any_finite_value_are_drawn_beside_those_that_have_one() -> None:
    nothing = lambda cell, step: {"val_nll_nats": np.nan, "train_nll_nats": np.nan} if cell.seed else {}  # noqa: E731
    cells = of_degrees("W", seeds=2)
    drawn = as_drawn(draw_nll(to_frames(build_study(cells, truth=False, diverged=(1,), override=nothing))))
    assert crosses(drawn.figure.axes[0]) == [(500.0, 1.0)]
    assert cells[1].id in drawn.cell_ids


def test_nash_starts_that_all_diverged_at_once_are_counted() -> None:
    lost = lambda cell, step: {"kl_nats": np.nan}  # noqa: E731
    absent = as_not_drawn(
        draw_nash(to_frames(build_study(nash(), truth=False, diverged=tuple(range(6)), override=lost)))
    )
    assert isinstance(absent, NotDrawn)
    assert "none of the 6 cells" in absent.reason


def test_missing_cells_of_a_curve_are_named() -> None:
    cells = of_degrees("U2", "W")
    drawn = as_drawn(draw_nll(to_frames(build_study(cells, truth=False, missing=(4,)))))
    assert isinstance(drawn, Drawn)
    assert ("1 missing", (cells[4].id,)) in spans(drawn.caption)


def test_a_number_of_a_caption_names_the_cells_behind_it() -> None:
    cells = of_degrees("U2", "W")
    drawn = as_drawn(draw_nll(to_frames(build_study(cells, truth=False))))
    own = {text.split()[0]: ids for text, ids in spans(drawn.caption) if ids}
    assert own["U2"] == tuple(cell.id for cell in cells[:3])
    assert own["W"] == tuple(cell.id for cell in cells[3:])
