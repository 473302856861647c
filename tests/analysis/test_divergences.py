"""Exact divergences of every group of cells, and KL split into approximation and estimation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from nllgen_analysis import Frames, to_frames
from nllgen_analysis.figures.divergences import MAX_ROWS, PANELS, divergence_data, draw_divergences
from nllgen_analysis.figures.split import draw_split, split_data
from nllgen_analysis.figures.style import Drawn, NotDrawn
from nllgen_analysis.text import spans

from nllgen.study.config import Cell
from tests.analysis.conftest import STEPS, build_study, kl, make_cell
from tests.analysis.drawing import as_drawn, as_not_drawn

T_3 = 4.302652729696142  # of the 95 % interval of three values


def three(cell: Cell, step: npt.ArrayLike) -> dict[str, Any]:
    """All three divergences; a cell on finite data lies ten nats and two a seed above its partner on fresh samples."""
    finite = 10.0 + 2 * cell.seed if cell.data.num_train == 500 else 0.0
    value = kl(cell, step) + finite
    return {"kl_nats": value, "reverse_kl_nats": 2 * value, "jsd_nats": math.log(2) * np.tanh(value / 100)}


def cells(seeds: int = 3) -> list[Cell]:
    pairs = [
        make_cell(degree, seed=s, num=num) for degree in ("U1", "W") for num in (500, "fresh") for s in range(seeds)
    ]
    return [*pairs, *(make_cell("W", "nsgan", seed=s, num=500) for s in range(seeds))]


@pytest.fixture(scope="module")
def frames() -> Frames:
    return to_frames(build_study(cells(), override=three))


def test_every_cell_of_known_density_has_its_three_divergences(frames: Frames) -> None:
    data = divergence_data(frames)
    seeds = data[data["kind"] == "seed"]
    assert seeds.groupby("panel").size().to_dict() == dict.fromkeys(PANELS, 15)
    own = seeds[(seeds["group"] == "W · nsgan · synthetic, N = 500") & (seeds["seed"] == 2)].set_index("panel")["value"]
    expected = float(three(make_cell("W", "nsgan", seed=2, num=500), STEPS)["kl_nats"])
    assert own["kl_nats"] == pytest.approx(expected)
    assert own["reverse_kl_nats"] == pytest.approx(2 * expected)
    assert own["jsd_nats"] == pytest.approx(math.log(2) * math.tanh(expected / 100))


def test_divergences_of_a_group_are_averaged_over_seeds(frames: Frames) -> None:
    data = divergence_data(frames)
    mean = data[(data["kind"] == "mean") & (data["group"] == "W · nll · synthetic, N = 500")].set_index("panel")
    values = [float(three(make_cell("W", seed=s, num=500), STEPS)["kl_nats"]) for s in range(3)]
    assert mean.loc["kl_nats", "value"] == pytest.approx(np.mean(values))
    half = mean.loc["kl_nats", "high"] - mean.loc["kl_nats", "value"]
    assert half == pytest.approx(T_3 * np.std(values, ddof=1) / np.sqrt(3))


def test_caption_has_the_divergences_of_adversarial_cells_with_their_ids(frames: Frames) -> None:
    drawn = as_drawn(draw_divergences(frames))
    told = [(text, behind) for text, behind in spans(drawn.caption) if behind]
    assert [len(behind) for _, behind in told] == [3]
    assert told[0][0].startswith("W · nsgan · synthetic, N = 500, nats: KL(p‖q) ")


def test_more_groups_than_fit_a_page_are_named() -> None:
    many = [make_cell("W", seed=0, num=100 + n) for n in range(MAX_ROWS + 2)]
    drawn = as_drawn(draw_divergences(to_frames(build_study(many, override=three))))
    assert "Not shown for lack of space, but in the CSV: W · nll · synthetic, N = 124, W · nll" in drawn.caption
    assert drawn.data["group"].nunique() == MAX_ROWS + 2


def test_real_mnist_has_no_exact_divergence() -> None:
    absent = as_not_drawn(draw_divergences(to_frames(build_study([make_cell("W", source="mnist")]))))
    assert isinstance(absent, NotDrawn)
    assert "no cell on synthetic data" in absent.reason


def test_a_cell_that_diverged_is_named_beside_the_divergences() -> None:
    drawn = as_drawn(draw_divergences(to_frames(build_study(cells(), override=three, diverged=(12,)))))
    assert "1 diverged" in drawn.caption
    assert set(drawn.data.loc[drawn.data["kind"] == "none", "cell_id"]) == {cells()[12].id}


def test_estimation_is_what_finite_data_add_by_seed(frames: Frames) -> None:
    data = split_data(frames)
    seeds = data[(data["kind"] == "seed") & (data["weights"] == "last") & (data["student"] == "U1")]
    estimation = seeds[seeds["panel"] == "estimation"].sort_values("seed")["value"]
    np.testing.assert_allclose(estimation, [10.0, 12.0, 14.0])
    approximation = seeds[seeds["panel"] == "approximation"].sort_values("seed")["value"]
    np.testing.assert_allclose(
        approximation, [float(kl(make_cell("U1", seed=s, num="fresh"), STEPS)) for s in range(3)]
    )


def test_the_two_parts_add_up_to_the_kl(frames: Frames) -> None:
    data = split_data(frames)
    means = data[(data["kind"] == "mean") & (data["weights"] == "best")].set_index(["student", "panel"])["value"]
    total = frames.final[(frames.final["weights"] == "best") & (frames.final["num_train"] == "500")]
    for student in ("U1", "W"):
        expected = total.loc[(total["student"] == student) & (total["paradigm"] == "nll"), "kl_nats"].mean()
        assert means[student, "approximation"] + means[student, "estimation"] == pytest.approx(expected)


def test_split_has_an_interval_over_seeds_in_its_caption(frames: Frames) -> None:
    drawn = as_drawn(draw_split(frames))
    mean = drawn.data[(drawn.data["kind"] == "mean") & (drawn.data["panel"] == "estimation")].iloc[0]
    assert mean["value"] == pytest.approx(12.0)
    assert mean["high"] - mean["value"] == pytest.approx(T_3 * 2 / np.sqrt(3))
    assert "estimation 12.0 ± 5.0 (n = 3)" in drawn.caption


def test_cells_with_other_training_are_not_paired() -> None:
    fresh = [make_cell("W", seed=s, num="fresh", lr=0.01) for s in range(3)]
    absent = as_not_drawn(
        draw_split(to_frames(build_study([*fresh, *(make_cell("W", seed=s, num=500) for s in range(3))])))
    )
    assert isinstance(absent, NotDrawn)
    assert "no cell trained by nll from a random start on N images has a partner on fresh samples" in absent.reason


def test_one_seed_splits_without_an_interval() -> None:
    drawn = as_drawn(draw_split(to_frames(build_study(cells(1), override=three))))
    assert isinstance(drawn, Drawn)
    assert "one seed, no interval" in drawn.caption
