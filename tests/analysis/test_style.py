"""Colours and axes of all figures."""

from __future__ import annotations

import itertools

import pytest
from nllgen_analysis.figures.scales import set_scale
from nllgen_analysis.figures.style import degree_colour, new_figure


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
