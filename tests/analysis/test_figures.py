"""Figures compared as data: the plotted numbers, not pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from nllgen_analysis import Frames, to_frames
from nllgen_analysis.figures import Drawn, NotDrawn, draw_all, project_style, render
from nllgen_analysis.figures.capacity import capacity_data, draw_capacity, draw_sample_size
from nllgen_analysis.figures.frechet import draw_frechet, frechet_data
from nllgen_analysis.figures.nash import binned, control_pairs, draw_nash, nash_data
from nllgen_analysis.figures.nll import draw_nll, nll_data
from nllgen_analysis.figures.panels import MAX_SETTINGS
from nllgen_analysis.figures.samples import draw_samples, strip
from nllgen_analysis.figures.scales import without_startup
from nllgen_analysis.figures.style import FileKind
from nllgen_analysis.text import plain
from scipy.stats import gmean

from nllgen.storage.study_file import StudyFile
from nllgen.study.config import Degree
from tests.analysis.conftest import EXCESS, GRID, build_study, default_cells, frechet, kl, make_cell
from tests.analysis.drawing import Results, as_drawn, as_not_drawn, named, ys


@pytest.fixture(scope="module")
def frames(study: StudyFile) -> Frames:
    return to_frames(study)


@pytest.fixture(scope="module")
def results(frames: Frames) -> Results:
    """Every figure of the study, the figures that pyplot knows then, and whether matplotlib's settings are the same."""
    import matplotlib
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    result = list(draw_all(frames))
    return result, plt.get_fignums(), dict(matplotlib.rcParams) == before


def _nll_rows(frames: Frames, setting: str = "synthetic, N = 1,000") -> pd.DataFrame:
    rows = frames.eval[(frames.eval["weights"] == "raw") & (frames.eval["setting"] == setting)]
    return rows[rows["start"] == "random"]


def test_nll_curves_hold_the_mean_over_seeds(frames: Frames) -> None:
    data = nll_data(_nll_rows(frames))
    mean = data[(data["panel"] == "nll, validation images") & (data["kind"] == "mean") & (data["series"] == "O1")]
    # seeds 0, 1, 2 add themselves to the closed form, so that the mean adds 1
    expected = -300.0 + kl(make_cell("O1", seed=1), GRID)
    np.testing.assert_allclose(mean.sort_values("x")["value"], expected)
    np.testing.assert_allclose(mean["high"] - mean["value"], 4.302652729696142 / math.sqrt(3))
    assert (mean["num_seeds"] == 3).all()


def test_every_seed_is_drawn_beside_its_mean(frames: Frames) -> None:
    data = nll_data(_nll_rows(frames))
    seeds = data[(data["panel"] == "nll, training images") & (data["kind"] == "seed")]
    assert seeds["cell_id"].nunique() == 9
    assert len(seeds) == 9 * len(GRID)


def test_degrees_are_drawn_in_their_order() -> None:
    degrees: tuple[Degree, ...] = ("O2", "W", "U3", "O1", "U1", "U2", "W*")
    drawn = as_drawn(draw_nll(to_frames(build_study([make_cell(d) for d in degrees], truth=False))))
    assert list(drawn.data["series"].unique()) == ["U3", "U2", "U1", "W", "W*", "O1", "O2"]


def test_nll_figure_marks_the_entropy_and_names_it(frames: Frames) -> None:
    synthetic = named(draw_nll(frames), "nll_curves_synthetic_1000")
    levels = [ys(line)[0] for line in synthetic.figure.axes[0].lines if len(set(ys(line))) == 1]
    assert -300.0 in levels
    assert "entropy, −300.0 nats" in synthetic.caption


def test_mean_ends_where_half_of_the_seeds_are_gone() -> None:
    study = build_study([make_cell("W", seed=s) for s in range(3)], diverged=(1, 2), truth=False)
    data = nll_data(_nll_rows(to_frames(study)))
    assert data.loc[data["kind"] == "mean", "x"].max() == 400
    assert data.loc[(data["kind"] == "seed") & (data["outcome"] == "done"), "x"].max() == 1000


def test_frechet_curves_keep_raw_and_ema_apart(frames: Frames) -> None:
    data = frechet_data(frames.eval[frames.eval["setting"] == "synthetic, N = 1,000"], "lenet")
    ends = data[(data["panel"] == "W") & (data["kind"] == "mean") & (data["x"] == data["x"].max())]
    values = ends.set_index("series")["value"]
    raw = [float(frechet(make_cell("W", "nsgan", seed=seed), 1000)) for seed in range(3)]
    nll = [float(frechet(make_cell("W", seed=seed), 1000)) for seed in range(3)]
    # with the floor of 0.7 the values span decades: the axis is logarithmic and its means are geometric
    expected = {"nsgan": gmean(raw), "nsgan EMA": gmean(np.array(raw) - 1), "nll": gmean(nll)}
    assert values.to_dict() == pytest.approx(expected)


def test_frechet_floor_is_drawn(frames: Frames) -> None:
    drawn = as_drawn(draw_frechet(frames))
    assert drawn.data.loc[drawn.data["kind"] == "floor", "value"].tolist() == [pytest.approx(0.7)]


def test_frechet_axis_is_steps_where_samples_are_fresh() -> None:
    study = build_study([make_cell("W", num="fresh")], truth=False)
    drawn = as_drawn(draw_frechet(to_frames(study)))
    assert set(drawn.data["x_unit"]) == {"step"}
    assert drawn.figure.axes[0].get_xlabel() == "optimiser steps"


def test_an_extractor_without_values_is_not_drawn(frames: Frames) -> None:
    absent = as_not_drawn(draw_frechet(frames), -1)
    assert isinstance(absent, NotDrawn)
    assert "Inception" in absent.reason


def test_nash_pairs_every_adversarial_cell_with_its_control(frames: Frames) -> None:
    started = frames.eval[(frames.eval["start"] == "truth") & (frames.eval["weights"] == "raw")]
    pairs = control_pairs(frames, started)
    # 0.2 against 0.02 nats a step
    assert pairs["ratio"].tolist() == [pytest.approx(10.0)] * 3
    assert sorted(pairs["seed"]) == [0, 1, 2]


def test_each_arm_is_compared_with_its_control() -> None:
    arms = [make_cell("W", "nsgan", seed=s, start="truth", lr=2e-4, r1_gamma=g) for g in (0.0, 10.0) for s in range(3)]
    cells = [*arms, *(make_cell("W", seed=s, start="truth", lr=2e-4) for s in range(3))]
    study = build_study(
        cells, override=lambda cell, step: {"kl_nats": kl(cell, step) * (1 + getattr(cell.paradigm, "r1_gamma", 0))}
    )
    caption = plain(as_drawn(draw_nash(to_frames(study))).caption)
    # at step 1,000 the control is at 20 (1 + seed / 10) nats, the arms at ten and a hundred and ten times as much
    assert re.search(r"of nsgan r1_gamma=0.0 198 ± \d+ \(n = 3\) nats; as a ratio, seed 0: 10.0; seed 1: 10.0", caption)
    assert re.search(
        r"of nsgan r1_gamma=10.0 2,398 ± \d+ \(n = 3\) nats; as a ratio, seed 0: 110; seed 1: 110", caption
    )


def test_nash_names_the_cells_that_start_beside_the_truth(frames: Frames) -> None:
    at_truth = plain(as_drawn(draw_nash(frames)).caption)
    assert "start at the truth's own weights, trained on" in at_truth
    cells = [make_cell("W", "nsgan", seed=s, start="truth").model_copy(update={"start_noise": 0.1}) for s in range(2)]
    beside = plain(as_drawn(draw_nash(to_frames(build_study(cells, samples=0)))).caption)
    assert "start at the truth's own weights, or with noise on them (near truth), trained on" in beside
    assert "KL is 0 at the start" not in beside


def test_sizes_are_printed_as_whole_numbers() -> None:
    cells = [make_cell("W", seed=s, num=num) for num in (500, 2000, "fresh") for s in range(2)]
    caption = as_drawn(draw_sample_size(to_frames(build_study(cells)))).caption
    assert "N = 2,000 " in caption
    assert "N = 500 " in caption


def test_a_control_at_another_learning_rate_is_no_control(frames: Frames) -> None:
    started = frames.eval[(frames.eval["start"] == "truth") & (frames.eval["weights"] == "raw")]
    lr = frames.cells["lr"].where(frames.cells["paradigm"] != "nll", 1e-3)
    assert control_pairs(replace(frames, cells=frames.cells.assign(lr=lr)), started).empty


def test_nash_losses_start_at_the_equilibrium(frames: Frames) -> None:
    started = frames.eval[(frames.eval["start"] == "truth") & (frames.eval["weights"] == "raw")]
    losses = nash_data(frames, started)
    first = losses[losses["kind"] == "mean"].groupby(["panel", "series"])["value"].first()
    assert first["loss_disc", "nsgan"] == pytest.approx(2 * math.log(2), abs=0.01)
    assert first["loss_gen", "nsgan"] == pytest.approx(math.log(2), abs=0.01)


def test_nash_figure_draws_both_equilibrium_lines(frames: Frames) -> None:
    axes = as_drawn(draw_nash(frames)).figure.axes
    for ax, level in ((axes[1], 2 * math.log(2)), (axes[2], math.log(2))):
        assert round(level, 6) in {round(ys(line)[0], 6) for line in ax.lines if len(ys(line)) == 2}


def test_binning_keeps_the_mean(frames: Frames) -> None:
    rows = frames.history[frames.history["cell"] == 0].join(frames.cells[["id", "seed", "outcome"]], on="cell")
    result = binned(rows.assign(student="W", paradigm="nll"), "train_nll_nats", num_bins=10)
    assert len(result) == 10
    assert result["train_nll_nats"].mean() == pytest.approx(rows["train_nll_nats"].mean())


def test_a_study_without_a_nash_start_gives_the_reason() -> None:
    absent = as_not_drawn(draw_nash(to_frames(build_study([make_cell("W")]))))
    assert absent.reason == "no cell of the study is trained from the truth"


def test_capacity_holds_final_kl_and_the_asymptote(frames: Frames) -> None:
    data = capacity_data(frames)
    means = data[(data["kind"] == "mean") & (data["weights"] == "last")].set_index("student")
    assert means.loc["U2", "value"] == pytest.approx(EXCESS["U2"] + 1, abs=0.3)
    reference = data[data["kind"] == "reference"]
    np.testing.assert_allclose(reference["value"], reference["num_parameters"] / 2000)


def test_capacity_of_fresh_samples_has_no_asymptote() -> None:
    cells = [make_cell(degree, num="fresh") for degree in ("U2", "W")]
    drawn = as_drawn(draw_capacity(to_frames(build_study(cells))))
    assert "reference" not in set(drawn.data["kind"])
    assert "k/(2N)" not in drawn.caption


def test_sample_sheet_lists_references_then_one_cell_a_group(frames: Frames) -> None:
    drawn = named(draw_samples(frames), "samples_synthetic_1000")
    assert list(drawn.data["row"])[:3] == ["MNIST", "truth", "nll U2"]
    assert set(drawn.data["seed"].iloc[2:]) == {0}


def test_sample_sheet_marks_a_diverged_cell() -> None:
    drawn = as_drawn(draw_samples(to_frames(build_study([make_cell("W")], diverged=(0,)))))
    assert "nll W (diverged)" in list(drawn.data["row"])


def test_sample_sheet_names_the_missing_references(study: StudyFile) -> None:
    drawn = as_drawn(draw_samples(to_frames(replace(study, reference={}))))
    assert "no reference images of MNIST and truth" in drawn.caption


def test_strip_puts_images_side_by_side() -> None:
    images = np.stack([np.full((1, 14, 14), value, np.float32) for value in (0.25, 2.0)])
    row = strip(images, count=3)
    assert row.shape == (14, 3 * 15 - 1)
    assert (row[0, 0], row[0, 15]) == (0.25, 1.0)
    assert np.isnan(row[0, [14, 30]]).all()


def test_axis_limits_ignore_a_startup_transient_but_not_a_late_explosion(frames: Frames) -> None:
    data = nll_data(_nll_rows(frames))
    part = data[(data["panel"] == "nll, validation images") & (data["kind"] == "seed")].assign(series="one")
    calm = part.assign(value=np.where(part["x"] == 0, 1e6, part["x"] / 1000))
    late = part.assign(value=np.where(part["x"] == 1000, 1e6, part["x"] / 1000))
    assert without_startup(calm).max() == 1.0
    assert without_startup(late).max() == 1e6


def test_settings_beyond_the_maximum_are_named() -> None:
    cells = [make_cell("W", num=100 + size) for size in range(14)]
    results = draw_nll(to_frames(build_study(cells, truth=False)))
    assert sum(isinstance(item, Drawn) for item in results) == MAX_SETTINGS
    assert "N = 113" in as_not_drawn(results, -1).reason


def test_the_number_of_figures_is_limited_for_many_settings() -> None:
    sizes = (100, 200, 500, 1000, 2000, 4000, 8000, 16000, 32000, "fresh")
    cells = [make_cell("W", paradigm, num=num) for paradigm in ("nll", "nsgan") for num in sizes]
    results = list(draw_all(to_frames(build_study(cells, samples=2))))
    assert sum(isinstance(item, Drawn) for item in results) < 50


def test_arms_of_one_degree_are_named_by_the_settings_that_vary() -> None:
    cells = [make_cell("W", seed=s, lr=lr) for lr in (0.001, 0.01) for s in range(2)]
    frames = to_frames(build_study(cells, truth=False))
    assert list(frames.cells["variant"].unique()) == ["lr=0.001", "lr=0.01"]
    assert set(as_drawn(draw_nll(frames)).data["series"]) == {"W lr=0.001", "W lr=0.01"}


def test_every_axis_has_a_label_or_shares_one(results: Results) -> None:
    for item in results[0]:
        if isinstance(item, Drawn) and not item.name.startswith("samples"):
            axes = [ax for ax in item.figure.axes if ax.get_visible()]
            assert any(ax.get_xlabel() for ax in axes), item.name
            assert axes[0].get_ylabel(), item.name


def test_no_title_label_or_legend_leaves_the_figure(results: Results) -> None:
    for item in results[0]:
        if isinstance(item, Drawn):
            with project_style():
                item.figure.draw_without_rendering()
            edge = item.figure.bbox
            shown = [ax for ax in item.figure.axes if ax.get_visible()]
            texts = [text for ax in shown for text in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts)]
            for artist in [*item.figure.legends, *(text for text in texts if text.get_text())]:
                box = artist.get_window_extent()
                inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= edge.x1 + 1 and box.y1 <= edge.y1 + 1
                assert inside, (item.name, artist)


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_same_data_give_the_same_bytes(kind: FileKind) -> None:
    study = build_study([make_cell("W")], truth=False)
    first, second = (render(as_drawn(draw_nll(to_frames(study))).figure, kind) for _ in range(2))
    assert first == second


def test_drawing_changes_neither_pyplot_nor_rcparams(results: Results) -> None:
    _, figures, same_settings = results
    assert figures == []
    assert same_settings


@pytest.mark.parametrize(
    "study_of",
    [
        lambda: build_study(default_cells(1)),
        lambda: build_study(default_cells(1), diverged=tuple(range(11))),
        lambda: build_study(default_cells(1), missing=tuple(range(11)), samples=0),
        lambda: build_study([make_cell("W")], missing=(0,), truth=False, samples=0),
        lambda: build_study([make_cell("W"), make_cell("U2")], override=lambda *_: {"train_nll_nats": math.nan}),
        lambda: build_study([make_cell("W"), make_cell("U2")], override=lambda *_: {"val_nll_nats": math.nan}),
    ],
    ids=["one seed", "all diverged", "all missing", "one missing cell", "no training NLL", "no validation NLL"],
)
def test_every_figure_of_a_hard_study_is_drawn_or_gives_a_reason(study_of: Callable[[], StudyFile]) -> None:
    results = list(draw_all(to_frames(study_of())))
    assert len(results) >= 8
    assert all(item.figure.axes if isinstance(item, Drawn) else item.reason for item in results)
