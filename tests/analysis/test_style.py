"""Colours and axes of all figures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from nllgen_analysis import to_frames
from nllgen_analysis.figures import Drawn
from nllgen_analysis.figures.frechet import draw_frechet
from nllgen_analysis.figures.scales import set_scale
from nllgen_analysis.figures.style import MIN_DISTANCE, PAPER, arm_colours, degree_colour, new_figure

from tests.analysis.conftest import build_study, make_cell
from tests.analysis.drawing import named


def test_degrees_have_colours_of_their_own() -> None:
    colours = [degree_colour(name) for name in ("U3", "U2", "U1", "W", "W*", "O1", "O2", "custom", "truth")]
    assert len(set(colours)) == len(colours)


@pytest.mark.parametrize("values", [[0, 1e3, 2e4, 1e9], [0, -3, 20, 1e23], [-5, 0, 3, 100, 4000], [0, 1, 2, 500]])
def test_labels_of_an_axis_with_both_signs_do_not_overlap(values: list[float]) -> None:
    figure = new_figure(1, 1)
    ax = figure.subplots()
    ax.plot(values)
    assert set_scale(ax, "y", values) == "symlog"
    figure.canvas.draw()
    low, high = ax.get_ylim()
    shown = [label for label in ax.get_yticklabels() if low <= label.get_position()[1] <= high]
    boxes = sorted((label.get_window_extent() for label in shown), key=lambda box: box.y0)
    assert len(boxes) >= 4
    assert all(below.y1 <= above.y0 for below, above in itertools.pairwise(boxes))


def test_many_arms_of_one_degree_are_told_apart_and_seen_on_paper() -> None:
    colours = [PAPER, *arm_colours({f"custom {rank}": degree_colour("custom") for rank in range(16)}).values()]
    pairs = itertools.combinations(map(to_rgb, colours), 2)
    assert min(float(np.linalg.norm(np.subtract(*pair))) for pair in pairs) > MIN_DISTANCE


def frechet_of(num_rates: int) -> Drawn:
    """Draw games at several rates, each with the mean of its weights, beside NLL."""
    cells = [make_cell("W"), *[make_cell("W", "nsgan", lr=1e-4 * (1 + rank)) for rank in range(num_rates)]]
    return named(draw_frechet(to_frames(build_study(cells, truth=False, samples=0))), "frechet_lenet_synthetic_1000")


def keys_of(item: Drawn) -> list[Line2D]:
    return [key for key in item.figure.legends[0].legend_handles if isinstance(key, Line2D)]


@pytest.mark.parametrize("num_rates", [3, 20])
def test_a_legend_has_every_arm_in_its_colour(num_rates: int) -> None:
    item = frechet_of(num_rates)
    drawn = {
        to_hex(str(line.get_color())) for line in item.figure.axes[0].lines if len(np.asarray(line.get_xdata())) > 2
    }
    listed = {str(key.get_label()): to_hex(str(key.get_color())) for key in keys_of(item)}
    assert len(drawn) == num_rates + 1
    assert drawn <= set(listed.values())
    assert sum("nsgan" in name and "EMA" not in name for name in listed) == num_rates


def test_a_long_legend_has_one_key_for_the_dashes_of_all_emas() -> None:
    keys = {str(key.get_label()): key.get_linestyle() for key in keys_of(frechet_of(8))}
    assert [name for name in keys if "EMA" in name] == ["EMA"]
    assert keys["EMA"] == "--"
