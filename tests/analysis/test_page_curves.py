"""The curves that a reader looks into are those of the figure; the library that draws them is the one it says."""

from __future__ import annotations

import hashlib
import json
from importlib import resources

import numpy as np
import pytest
from matplotlib.colors import to_hex
from nllgen_analysis.figures import Drawn, draw_all
from nllgen_analysis.figures.curves import draw_curves
from nllgen_analysis.figures.style import new_figure
from nllgen_analysis.frames import Frames, to_frames
from nllgen_analysis.page_curves import Panel, Series, curve_panels, curves_json

from nllgen.storage.study_file import StudyFile
from tests.analysis.conftest import ENTROPY, GRID, kl, make_cell

UPLOT = resources.files("nllgen_analysis").joinpath("uplot")
CURVES = ("nll_curves", "overfit", "convergence", "frechet_lenet", "frechet_degrees", "nash")


@pytest.fixture(scope="module")
def frames(spoilt: StudyFile) -> Frames:
    return to_frames(spoilt)


@pytest.fixture(scope="module")
def figures(frames: Frames) -> dict[str, Drawn]:
    return {item.name: item for item in draw_all(frames) if isinstance(item, Drawn)}


@pytest.fixture(scope="module")
def panel(figures: dict[str, Drawn]) -> Panel:
    return next(p for p in curve_panels(figures["nll_curves_synthetic_1000"]) if p.title == "nll, validation images")


def named(panel: Panel, name: str) -> Series:
    return next(series for series in panel.series if series.name == name)


def test_all_figures_of_curves_have_them_and_no_others(figures: dict[str, Drawn]) -> None:
    assert {name for name, figure in figures.items() if curves_json(figure)} == {
        name for name in figures if name.startswith(CURVES)
    }


def test_a_run_has_the_values_of_its_cell(panel: Panel) -> None:
    run = next(run for run in named(panel, "W").runs if run.seed == "2")
    cell = make_cell("W", seed=2)
    assert run.cell == cell.id
    assert panel.grids[run.grid] == list(GRID)
    np.testing.assert_allclose(np.array(run.values, float), ENTROPY + kl(cell, GRID), rtol=1e-4)


def test_a_mean_lies_within_its_interval(panel: Panel) -> None:
    mean = named(panel, "O1")
    assert all(low <= value <= high for low, value, high in zip(mean.low, mean.values, mean.high, strict=True))  # type: ignore[operator]


def test_what_is_not_finite_is_null(panel: Panel) -> None:
    diverged = [run for run in named(panel, "U2").runs if None in run.values]
    assert [run.seed for run in diverged] == ["1"]


def test_colours_are_those_of_the_legend(figures: dict[str, Drawn]) -> None:
    for name in ("nll_curves_synthetic_1000", "nash_synthetic_1000", "overfit_synthetic_1000"):
        (legend,) = figures[name].figure.legends
        keys = {str(key.get_label()): to_hex(key.get_color()) for key in legend.legend_handles}  # type: ignore[union-attr]
        for panel in curve_panels(figures[name]):
            assert {series.name: series.colour for series in panel.series}.items() <= keys.items()


def test_panels_have_the_labels_of_the_outer_axes(panel: Panel) -> None:
    assert (panel.x_label, panel.y_label) == ("optimiser steps", "NLL (nats per image)")


def test_no_text_of_the_study_ends_the_element(figures: dict[str, Drawn]) -> None:
    original = figures["convergence_synthetic_1000"]
    data = original.data.assign(series="</script><b>&")
    figure = new_figure(1, 1)
    ax = figure.subplots()
    ax.set_label(str(data["panel"].iloc[0]))
    draw_curves(ax, data, ({"</script><b>&": "#000000"}, {"</script><b>&": "-"}))
    text = curves_json(Drawn("attack", "", figure, data, ""))
    assert "<" not in text
    assert json.loads(text)[0]["series"][0]["name"] == "</script><b>&"


def test_the_library_is_the_version_that_it_says() -> None:
    source = json.loads(UPLOT.joinpath("source.json").read_text())
    for name, sha256 in source["sha256"].items():
        assert hashlib.sha256(UPLOT.joinpath(name).read_bytes()).hexdigest() == sha256, name
    assert f"(v{source['version']})" in UPLOT.joinpath("uPlot.iife.min.js").read_text()[:80]
    assert source["license"] == "MIT"
    assert "The MIT License" in UPLOT.joinpath("LICENSE").read_text()


def test_every_file_of_the_library_has_a_checksum() -> None:
    source = json.loads(UPLOT.joinpath("source.json").read_text())
    assert {file.name for file in UPLOT.iterdir()} == {"source.json", *source["sha256"]}
