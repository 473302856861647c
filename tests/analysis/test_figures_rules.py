"""Rules that every figure keeps (science.md, *How results are shown*): averages, colours, labels, panels."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from nllgen_analysis import Frames, to_frames
from nllgen_analysis.figures import Drawn, draw_all, project_style
from nllgen_analysis.figures.capacity import draw_capacity, draw_sample_size
from nllgen_analysis.figures.curves import looks
from nllgen_analysis.figures.frechet import draw_frechet
from nllgen_analysis.figures.nash import draw_nash, nash_data
from nllgen_analysis.figures.nll import draw_convergence, draw_nll, draw_overfit
from nllgen_analysis.figures.panels import lengths_text
from nllgen_analysis.figures.point_axes import arm_names, arm_palette
from nllgen_analysis.figures.points import cost_data, scatter_data
from nllgen_analysis.figures.samples import draw_samples, sheet
from nllgen_analysis.figures.scales import limit_log
from nllgen_analysis.figures.style import (
    PARADIGM_COLOURS,
    arm_colours,
    degree_colour,
    new_figure,
    paradigm_colour,
    paradigm_marker,
)
from nllgen_analysis.text import plain
from scipy.stats import gmean

from nllgen.storage.hdf5_data import Array
from nllgen.study.config import Cell
from nllgen.study.paradigms import AnyParadigm
from tests.analysis.conftest import STEPS, build_study, default_cells, make_cell
from tests.analysis.drawing import as_drawn, as_not_drawn, ys

T_3 = 4.302652729696142  # of the 95 % interval of three values


def exploding(cell: Cell, step: Array) -> dict[str, Any]:
    """Give games divergences and distances that differ by powers of ten between seeds, and 0 at the truth."""
    step = np.asarray(step, float)
    if cell.data.source == "mnist":
        return {"reverse_kl_nats": np.nan}
    if cell.degree == "W*":
        return {"kl_nats": 0.0 * step, "reverse_kl_nats": 0.0 * step}
    game = cell.paradigm.name == "nsgan"
    value = np.where(step > 0, 10.0 ** (1 + 2 * cell.seed) if game else 20.0 + cell.seed, 0.0 * step)
    value = value if cell.start == "truth" else value + 5.0
    return {"kl_nats": value, "reverse_kl_nats": value, "val_nll_nats": 300 + value + (step == 0) * 100.0,
            "train_nll_nats": 300 + value / 2, "overfit_nats": -value}  # fmt: skip


def cells() -> list[Cell]:
    arms = [make_cell("W", "nsgan", seed=s, start="truth", lr=2e-4, r1_gamma=g) for g in (0.0, 10.0) for s in range(3)]
    sizes = [make_cell(degree, seed=s, num=num) for degree in ("U1", "W") for num in (500, "fresh") for s in range(3)]
    return [*default_cells(), *arms, *sizes, make_cell("W*")]


@pytest.fixture(scope="module")
def frames() -> Frames:
    return to_frames(build_study(cells(), override=exploding))


@pytest.fixture(scope="module")
def drawn(frames: Frames) -> list[Drawn]:
    return [item for item in draw_all(frames) if isinstance(item, Drawn)]


def test_on_a_logarithmic_axis_the_mean_is_geometric_with_the_interval_of_logarithms(frames: Frames) -> None:
    rows = frames.eval[(frames.eval["start"] == "truth") & (frames.eval["degree"] == "W")]
    data = nash_data(frames, rows[rows["weights"] == "raw"])
    last = data[(data["panel"] == "kl") & (data["x"] == STEPS) & (data["series"] == "nsgan r1_gamma=10.0")]
    mean = last[last["kind"] == "mean"].iloc[0]
    values = last.loc[last["kind"] == "seed", "value"].to_numpy(float)
    logs = np.log(values)
    assert mean["scale"] == "log"
    assert mean["value"] == pytest.approx(gmean(values))
    half = T_3 * logs.std(ddof=1) / np.sqrt(3)
    assert (mean["low"], mean["high"]) == pytest.approx((np.exp(logs.mean() - half), np.exp(logs.mean() + half)))


def test_no_interval_on_a_logarithmic_axis_reaches_below_0(drawn: list[Drawn]) -> None:
    seen = 0
    for item in drawn:
        for scale, low in (("scale", "low"), ("x_scale", "x_low"), ("y_scale", "y_low")):
            if scale in item.data and low in item.data:
                lows = item.data.loc[item.data[scale] == "log", low].astype(float).dropna()
                seen += len(lows)
                assert (lows > 0).all(), item.name
    assert seen > 50


def test_the_caption_says_that_means_are_geometric(drawn: list[Drawn]) -> None:
    for item in drawn:
        if "scale" in item.data and (item.data["scale"] == "log").any():
            assert "On a logarithmic axis the mean is geometric" in plain(item.caption), item.name


def overlapping(ax: Axes, which: str) -> bool:
    low, high = sorted(ax.get_xlim() if which == "x" else ax.get_ylim())
    axis = ax.xaxis if which == "x" else ax.yaxis
    rank = 0 if which == "x" else 1
    labels = [label for label in axis.get_ticklabels() if label.get_visible() and label.get_text()]
    labels = [label for label in labels if low <= label.get_position()[rank] <= high]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.min[rank])
    return any(first.max[rank] > second.min[rank] for first, second in itertools.pairwise(boxes))


def test_no_label_of_an_axis_overlaps_the_next(drawn: list[Drawn]) -> None:
    assert len(drawn) > 10
    for item in drawn:
        with project_style():
            item.figure.draw_without_rendering()
        for ax in item.figure.axes:
            if ax.get_visible() and ax.axison:
                assert not overlapping(ax, "x"), (item.name, ax.get_title(), "x")
                assert not overlapping(ax, "y"), (item.name, ax.get_title(), "y")


@pytest.mark.parametrize("span", [(1, 1.2), (80, 180), (2e3, 2e7), (1e-8, 1e9), (0.9, 1100)])
def test_a_narrow_logarithmic_axis_has_labels_that_do_not_overlap(span: tuple[float, float]) -> None:
    with project_style():
        figure = new_figure(1, 3)
        ax = figure.subplots(1, 3)[0]
        ax.set_xscale("log")
        limit_log(ax, "x", *span)
        figure.draw_without_rendering()
    shown = [tick for tick in ax.get_xticks() if span[0] <= tick <= span[1]]
    assert len(shown) >= 2
    assert not overlapping(ax, "x")


def test_sizes_that_are_near_each_other_have_labels_that_do_not_overlap() -> None:
    near = [make_cell("W", seed=s, num=num) for num in (500, 550, 600, 2000) for s in range(2)]
    item = as_drawn(draw_sample_size(to_frames(build_study(near))))
    with project_style():
        item.figure.draw_without_rendering()
    ax = item.figure.axes[0]
    assert not overlapping(ax, "x")
    low, high = ax.get_xlim()
    assert low < 500 < 2000 < high


def test_one_colour_is_one_arm(frames: Frames) -> None:
    item = as_drawn(draw_nash(frames))
    kl = item.data[item.data["panel"] == "kl"]
    colours, _ = looks(kl, paradigm_colour)
    assert len(colours) == len(set(colours.values())) == 4
    arms = {name for name in colours if name.startswith("nsgan")}
    assert len(arms) == 2
    for panel, ax in zip(("loss_disc", "loss_gen"), item.figure.axes[1:3], strict=True):
        assert set(item.data.loc[item.data["panel"] == panel, "series"].dropna()) == arms  # apart, not in one mean
        assert {colours[name] for name in arms} <= {line.get_color() for line in ax.lines}


def test_an_arm_of_points_keeps_its_colour_where_another_arm_is_not_drawn() -> None:
    settings = ["MNIST, N = 50,000", "synthetic, N = 500", "synthetic, N = 2,000"]
    cells = pd.DataFrame({"role": "cell", "source": ["mnist", *["synthetic"] * 2], "student": "W", "setting": settings})
    cells["group"] = "W · nll · " + cells["setting"]
    every, few = (arm_palette(rows.assign(arm=rows["setting"]), cells) for rows in (cells, cells.iloc[1:]))
    assert len(set(every.values())) == len(every) == 3
    assert every["MNIST, N = 50,000"] == degree_colour("W")
    assert few == {setting: every[setting] for setting in settings[1:]}


def test_the_ema_of_an_arm_has_its_colour(frames: Frames) -> None:
    item = as_drawn(draw_frechet(frames))
    ema = item.data[item.data["series"].isin(["nsgan", "nsgan EMA"])]
    assert ema["arm"].nunique() == 1


def test_training_from_the_truth_has_another_colour_than_the_truths_own_weights() -> None:
    assert degree_colour("W from truth") != degree_colour("W*")


def test_many_arms_of_one_paradigm_have_colours_of_their_own() -> None:
    colours = arm_colours({f"nsgan {rank}": paradigm_colour("nsgan") for rank in range(60)})
    assert len(set(colours.values())) == 60
    assert colours["nsgan 0"] == paradigm_colour("nsgan").lower()


def test_every_paradigm_has_a_colour_and_a_marker_of_its_own() -> None:
    (union, *_) = get_args(AnyParadigm)
    names = {kind.model_fields["name"].default for kind in get_args(union)}
    assert {"noise", "r3gan"} <= names
    assert names <= set(PARADIGM_COLOURS)
    assert len({paradigm_colour(name) for name in names}) == len(names)
    assert len({paradigm_marker(name) for name in names}) == len(names)
    assert not {paradigm_marker(name) for name in ("mine", "yours")} & {paradigm_marker(name) for name in names}


def test_cells_on_other_data_are_other_arms_in_a_scatter(frames: Frames) -> None:
    data = scatter_data(frames, "lenet")
    names = arm_names(data)
    assert {"W, N = 1,000", "W, N = 500", "W, fresh", "W, MNIST"} <= set(names)


def test_means_of_points_are_geometric_on_a_logarithmic_axis(frames: Frames) -> None:
    data = scatter_data(frames, "lenet")
    group = data[data["group"] == "W · nsgan · synthetic, N = 1,000"]
    mean, points = group[group["kind"] == "mean"].iloc[0], group[group["kind"] == "cell"]
    assert (mean["x_scale"], len(points)) == ("log", 3)
    assert mean["x"] == pytest.approx(gmean(points["x"].astype(float)))
    assert mean["x_low"] > 0


def test_no_panel_by_degree_has_one_degree() -> None:
    single = to_frames(
        build_study([make_cell("W", p, seed=s) for p in ("nll", "nsgan") for s in range(2)], truth=False)
    )
    for draw in (draw_nll, draw_overfit):
        results = draw(single)
        assert [item.name.endswith("_paradigms_synthetic_1000") for item in results] == [True]
        assert set(as_drawn(results).data["series"]) == {"nll W", "nsgan W"}
    assert "no setting has several degrees" in as_not_drawn(draw_convergence(single)).reason
    assert "two sizes" in as_not_drawn(draw_capacity(single)).reason
    assert as_drawn(draw_frechet(single)).name == "frechet_lenet_synthetic_1000"


def test_a_degree_with_one_paradigm_is_drawn_by_degree_alone() -> None:
    study = build_study([make_cell(d, seed=s) for d in ("U2", "W") for s in range(2)], truth=False)
    assert next(item.name for item in draw_frechet(to_frames(study))) == "frechet_degrees_lenet_synthetic_1000"


def test_where_values_explode_a_further_panel_shows_those_below_the_start() -> None:
    def late(cell: Cell, step: Array) -> dict[str, Any]:
        level = {"U2": 360.0, "U1": 350.0, "W": 340.0}[cell.degree]
        grown = np.where((cell.degree == "W") & (step > 300), 1e6 * (1 + cell.seed), level)
        value = np.where(step == 0, 500.0, grown)
        return {"val_nll_nats": value, "train_nll_nats": np.where(step == 0, 500.0, level)}

    study = build_study([make_cell(d, seed=s) for d in ("U2", "U1", "W") for s in range(2)], truth=False, override=late)
    item = as_drawn(draw_nll(to_frames(study)))
    assert set(item.data["panel"]) == {f"nll, {name}" for name in (
        "training images", "validation images", "validation images, below the start")}  # fmt: skip
    below = next(ax for ax in item.figure.axes if "below" in ax.get_title())
    assert below.get_yscale() == "linear"
    assert 500 < below.get_ylim()[1] < 1000
    assert "Below the start" in item.caption
    polygons = [band for band in below.collections if isinstance(band, PolyCollection)]
    bands = np.concatenate([np.asarray(path.vertices)[:, 1] for band in polygons for path in band.get_paths()])
    assert bands.min() > 0  # that of W after its explosion would fill the panel


def test_the_overfit_index_has_one_linear_axis_for_all_paradigms(frames: Frames) -> None:
    for item in (item for item in draw_overfit(frames) if isinstance(item, Drawn)):
        shown = [ax for ax in item.figure.axes if ax.get_visible()]
        assert {ax.get_yscale() for ax in shown} == {"linear"}
        assert len({ax.get_ylim() for ax in shown}) == 1


def test_one_measure_has_one_scale_in_all_panels_of_the_cost(frames: Frames) -> None:
    data = cost_data(frames)
    assert data["x_scale"].nunique() == 1
    assert (data.groupby("y_label")["y_scale"].nunique() == 1).all()


def test_a_dead_game_is_marked_where_it_died_and_named() -> None:
    def dead(cell: Cell, step: Array) -> dict[str, Any]:
        lost = (cell.paradigm.name == "nsgan") & (cell.seed == 1) & (np.asarray(step) >= 500)
        return {"dead_step": np.where(lost, 500.0, np.nan)}

    games = [make_cell("W", p, seed=s) for p in ("nsgan", "nll") for s in range(3)]
    item = as_drawn(draw_frechet(to_frames(build_study(games, truth=False, override=dead))))
    marked = item.data[item.data["is_dead"].eq(True) & (item.data["kind"] == "seed")]
    assert set(marked["cell_id"]) == {games[1].id}
    raw = marked[marked["series"] == "nsgan"]
    assert raw["x"].min() == pytest.approx(500 * 128 / 1000)
    assert "1 of the 6 cells drawn the game is dead from" in plain(item.caption)
    places = [ys(line) for line in item.figure.axes[0].lines if line.get_marker() == "v" and len(ys(line))]
    assert places
    keys = [text.get_text() for text in item.figure.legends[0].get_texts()]
    assert "dead from here" in keys


def test_runs_of_different_lengths_are_named() -> None:
    longer = [cell.model_copy(update={"paradigm": cell.paradigm.model_copy(update={"steps": 2 * STEPS})})
              for cell in (make_cell("W", seed=s) for s in range(2))]  # fmt: skip
    study = to_frames(build_study([make_cell("U2", seed=0), make_cell("U2", seed=1), *longer], truth=False))
    item = as_drawn(draw_nll(study))
    assert "The runs differ in length: 1,000 steps of 128 images (128 epochs): U2 nll; 2,000" in plain(item.caption)
    assert lengths_text(study.cells[study.cells["degree"] == "U2"]) == ""


def test_a_sheet_has_ten_by_ten_images_where_there_are_as_many() -> None:
    images = np.ones((100, 1, 14, 14), np.float32)
    assert sheet(images).shape == (10 * 15 - 1, 10 * 15 - 1)
    assert np.isnan(sheet(images[:15], 2)[15:, 5 * 15 :]).all()
    study = build_study([make_cell("W"), make_cell("W", "nsgan")], truth=False, samples=120)
    item = as_drawn(draw_samples(to_frames(study)))
    assert list(item.data["num_shown"])[-2:] == [100, 100]
    assert "the same latents" in item.caption
