"""nllgen_analysis.compare: on studies of known numbers, so that every difference is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nllgen_analysis import to_frames
from nllgen_analysis.compare import NO_PAIRS, OTHER_TRUTHS, Comparison, Side, compare
from nllgen_analysis.figures.comparison import MAX_GROUPS, draw_comparison
from nllgen_analysis.figures.style import render
from nllgen_analysis.frames import Frames
from nllgen_analysis.tables import MAIN_METRICS
from scipy import stats

from nllgen.errors import ConfigError
from nllgen.storage.hdf5_data import Array
from nllgen.study.config import Cell
from tests.analysis.conftest import build_study, default_cells, make_cell

NLL, NSGAN = (("paradigm", "nll"),), (("paradigm", "nsgan"),)
SEEDS = range(4)
Values = Callable[[Cell], float]


def frames_of(cells: list[Cell], value: Values) -> Frames:
    """Return a study whose final KL is known."""

    def override(cell: Cell, step: Array) -> dict[str, Any]:
        return {"kl_nats": value(cell)}

    return to_frames(build_study(cells, truth=False, samples=0, override=override))


def only(comparison: Comparison) -> Any:
    (row,) = comparison.table.itertuples()
    return row


def two_paradigms(value: Values) -> Comparison:
    cells = [make_cell("W", paradigm, seed=seed) for paradigm in ("nll", "nsgan") for seed in SEEDS]
    frames = frames_of(cells, value)
    return compare(Side("A", frames, NLL), Side("B", frames, NSGAN), ["kl_nats"])


def by_paradigm(cell: Cell) -> float:
    """Return values whose spread over seeds is common to both paradigms, but for a little."""
    return 10.0 + 5.0 * cell.seed + (3.0 + 0.1 * cell.seed**2 if cell.paradigm.name == "nsgan" else 0.0)


def test_a_paired_interval_is_that_of_the_differences() -> None:
    row = only(two_paradigms(by_paradigm))
    differences = np.array([-(3.0 + 0.1 * seed**2) for seed in SEEDS])
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (row.num_pairs, row.note, row.scale) == (4, "", "linear")
    assert row.effect == pytest.approx(differences.mean())
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))


def test_values_over_powers_of_ten_are_compared_by_their_ratio() -> None:
    row = only(two_paradigms(lambda cell: 10.0 ** (cell.seed + (3 if cell.paradigm.name == "nsgan" else 0))))
    assert row.scale == "log"
    assert (row.effect, row.low, row.high) == pytest.approx((1e-3, 1e-3, 1e-3))
    assert row.mean_a == pytest.approx(10**1.5)


def test_values_of_0_or_less_are_never_compared_by_logarithms() -> None:
    row = only(two_paradigms(lambda cell: -1.0 if cell.paradigm.name == "nll" else 10.0 ** (5 + cell.seed)))
    assert row.scale == "linear"


def test_seeds_of_one_side_alone_give_an_unpaired_interval() -> None:
    cells = [make_cell("W", seed=seed) for seed in (0, 1, 2)] + [make_cell("W", "nsgan", seed=seed) for seed in (7, 8)]
    frames = frames_of(cells, by_paradigm)
    row = only(compare(Side("A", frames, NLL), Side("B", frames, NSGAN), ["kl_nats"]))
    sides = [[by_paradigm(cell) for cell in part] for part in (cells[:3], cells[3:])]
    expected = stats.ttest_ind(*sides, equal_var=False).confidence_interval(0.95)
    assert (row.num_pairs, row.note) == (0, NO_PAIRS)
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))


def test_seeds_of_other_truths_are_no_pairs() -> None:
    first, second = (build_study([make_cell("W", seed=seed) for seed in SEEDS], truth=False) for _ in range(2))
    second.cells["truth_sha256"][:] = "other"
    row = only(compare(Side("A", to_frames(first)), Side("B", to_frames(second)), ["kl_nats"]))
    assert (row.num_pairs, row.note) == (0, OTHER_TRUTHS)


def test_one_pair_has_no_interval() -> None:
    cells = [make_cell("W", paradigm) for paradigm in ("nll", "nsgan")]
    frames = frames_of(cells, by_paradigm)
    row = only(compare(Side("A", frames, NLL), Side("B", frames, NSGAN), ["kl_nats"]))
    assert (row.num_pairs, row.effect) == (1, -3.0)
    assert np.isnan(row.low)
    assert "one seed" in row.note


def test_cells_that_agree_in_the_rest_belong_together() -> None:
    frames = to_frames(build_study(default_cells(), samples=0))
    comparison = compare(Side("A", frames, NLL), Side("B", frames, NSGAN), ["frechet_lenet"])
    assert set(comparison.table["group"]) == {
        "U2 · synthetic, N = 1,000",
        "W · synthetic, N = 1,000",
        "O1 · synthetic, N = 1,000",
        "W from truth · synthetic, N = 1,000",
        "W · MNIST, N = 50,000",
    }
    assert (comparison.table["num_pairs"] == 3).all()
    assert comparison.unmatched == ()
    assert "paradigm" in comparison.differing


def test_a_degree_is_compared_whatever_its_width() -> None:
    frames = to_frames(build_study(default_cells(), samples=0))
    sides = (Side("A", frames, (("degree", "U2"),)), Side("B", frames, (("degree", "O1"),)))
    comparison = compare(*sides, ["kl_nats"])
    assert set(comparison.table["group"]) == {"nll · synthetic, N = 1,000", "nsgan · synthetic, N = 1,000"}
    assert comparison.table["effect"].to_list() == pytest.approx([5.0, 5.0])  # EXCESS of U2 and O1


def test_two_studies_are_compared_where_they_agree() -> None:
    first = frames_of([make_cell("W", seed=seed) for seed in SEEDS], lambda cell: 1.0 + cell.seed)
    cells = [make_cell("W", seed=seed) for seed in SEEDS] + [make_cell("U2")]
    second = frames_of(cells, lambda cell: 2.0 + cell.seed)
    comparison = compare(Side("A", first), Side("B", second), ["kl_nats"])
    assert only(comparison).effect == -1.0
    assert comparison.unmatched == ("B: U2 · nll · synthetic, N = 1,000",)


def test_a_setting_that_both_sides_vary_is_a_group_of_its_own() -> None:
    cells = [make_cell("W", paradigm, seed=seed, lr=lr)
             for paradigm in ("nll", "nsgan") for seed in SEEDS for lr in (0.1, 0.2)]  # fmt: skip
    frames = frames_of(cells, by_paradigm)
    one = compare(Side("A", frames, (("lr", "1e-1"),)), Side("B", frames, (("lr", "0.2"),)), ["kl_nats"])
    assert set(one.table["group"]) == {"W · nll · synthetic, N = 1,000", "W · nsgan · synthetic, N = 1,000"}
    rest = compare(Side("A", frames, (*NLL, ("seed", "0"))), Side("B", frames, NLL), ["kl_nats"])
    assert [group.rpartition("=")[2] for group in rest.table["group"]] == ["0.1", "0.2"]


def test_several_cells_a_seed_are_averaged_and_named() -> None:
    cells = [make_cell("W", seed=seed) for seed in SEEDS]
    cells += [make_cell("W", "nsgan", seed=seed, lr=lr) for seed in SEEDS for lr in (0.1, 0.2)]
    frames = frames_of(cells, by_paradigm)
    row = only(compare(Side("A", frames, NLL), Side("B", frames, NSGAN), ["kl_nats"]))
    assert (row.num_pairs, row.seeds_b) == (4, 4)
    assert row.note == "several cells a seed in B, averaged"


def test_the_main_metrics_are_compared_by_default() -> None:
    frames = to_frames(build_study(default_cells(1), samples=0))
    comparison = compare(Side("A", frames, NLL), Side("B", frames, NSGAN))
    assert list(comparison.table["metric"].unique()) == [
        "kl_nats", "frechet_lenet", "test_nll_nats", "test_bits_per_dim"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ((("paradigm", "ngan"),), "no cell has paradigm=ngan"),
        ((("paradign", "nll"),), "did you mean paradigm"),
    ],
)
def test_a_selection_of_nothing_names_what_there_is(where: tuple[tuple[str, str], ...], words: str) -> None:
    frames = to_frames(build_study(default_cells(1), samples=0))
    with pytest.raises(ConfigError) as caught:
        compare(Side("A", frames, where), Side("B", frames))
    assert words in str(caught.value)
    assert "nsgan" in str(caught.value) or "batch_size" in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "words"), [("kl_nat", "did you mean kl_nats"), ("frechet_inception", "not measured")]
)
def test_a_metric_that_cannot_be_compared_is_named(metric: str, words: str) -> None:
    frames = to_frames(build_study(default_cells(1), samples=0))
    with pytest.raises(ConfigError) as caught:
        compare(Side("A", frames, NLL), Side("B", frames, NSGAN), [metric])
    assert words in str(caught.value)


@pytest.mark.parametrize("metrics", [[], ["kl_nats"]])
def test_a_metric_of_other_groups_alone_is_not_measured_on_both_sides(metrics: list[str]) -> None:
    cells = [make_cell(degree, paradigm) for degree in ("W", "U2") for paradigm in ("nll", "nsgan")]

    def override(cell: Cell, step: Array) -> dict[str, Any]:
        has_value = (cell.degree == "W") == (cell.paradigm.name == "nll")
        nan = dict.fromkeys(MAIN_METRICS, np.nan)
        return nan | {"kl_nats": 1.0 if has_value else np.nan}

    frames = to_frames(build_study(cells, truth=False, samples=0, override=override))
    with pytest.raises(ConfigError, match="measured on both sides of a common group"):
        compare(Side("A", frames, NLL), Side("B", frames, NSGAN), metrics)


def test_cells_of_two_precisions_are_never_averaged() -> None:
    cells = [
        make_cell("W", paradigm, seed=seed).model_copy(update={"precision": precision})
        for paradigm in ("nll", "nsgan") for seed in SEEDS for precision in ("fp32", "bf16")
    ]  # fmt: skip
    frames = frames_of(cells, by_paradigm)
    comparison = compare(Side("A", frames, NLL), Side("B", frames, NSGAN), ["kl_nats"])
    assert {group.rpartition(" · ")[2] for group in comparison.table["group"]} == {"precision=fp32", "precision=bf16"}
    assert set(comparison.table["note"]) == {""}


def test_the_same_cells_are_refused() -> None:
    frames = to_frames(build_study(default_cells(1), samples=0))
    with pytest.raises(ConfigError, match="the same cells"):
        compare(Side("A", frames), Side("B", frames, ()))


def test_cells_without_anything_in_common_are_refused() -> None:
    first, second = (frames_of([make_cell("W", lr=a), make_cell("U2", lr=b)], by_paradigm) for a, b in ((1, 2), (2, 1)))
    with pytest.raises(ConfigError, match="agree in"):
        compare(Side("A", first), Side("B", second))


def test_a_study_without_results_is_refused() -> None:
    cells = default_cells(1)
    frames = to_frames(build_study(cells, missing=tuple(range(len(cells))), samples=0))
    with pytest.raises(ConfigError, match="no finished cell"):
        compare(Side("A", frames), Side("B", frames))


def test_a_figure_has_a_panel_a_metric_and_a_point_a_seed() -> None:
    frames = to_frames(build_study(default_cells(), samples=0))
    comparison = compare(Side("A", frames, NLL), Side("B", frames, NSGAN))
    figure = draw_comparison(comparison, ("nll", "nsgan"))
    assert [ax.get_xlabel() for ax in figure.axes] == ["KL (nats)", "Fréchet (LeNet)", "test NLL (nats)", "bits/dim"]
    points = [line for line in figure.axes[0].lines if line.get_marker() == "."]
    assert sum(np.size(line.get_xdata()) for line in points) == 2 * 4 * 3  # sides, groups, seeds
    assert render(figure, "png").startswith(b"\x89PNG")


def test_a_figure_of_many_groups_says_what_it_leaves_out() -> None:
    cells = [make_cell("W", paradigm, num=100 + num) for paradigm in ("nll", "nsgan") for num in range(MAX_GROUPS + 2)]
    frames = frames_of(cells, by_paradigm)
    comparison = compare(Side("A", frames, NLL), Side("B", frames, NSGAN), ["kl_nats"])
    (ax,) = draw_comparison(comparison, ("nll", "nsgan")).axes
    assert ax.get_title() == "2 further groups are in the table alone"
