"""Numbers of the published pages beside verdicts and captions, computed as the pages describe."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from nllgen_analysis.frames import Frames, load
from nllgen_analysis.statistics import mean_interval

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture(scope="module")
def frames() -> Frames:
    return load(RESULTS / "laptop" / "study.h5")


def test_every_cell_has_finite_final_metrics(frames: Frames) -> None:
    done = frames.cells[(frames.cells["role"] != "truth") & (frames.cells["source"] == "synthetic")]
    last = frames.final[(frames.final["weights"] == "last") & frames.final["cell"].isin(done.index)]
    assert len(last) == len(done)
    assert np.isfinite(last[["kl_nats", "kl_se_nats", "jsd_nats", "frechet_lenet"]].astype(float)).all().all()


def test_further_numbers_of_the_page_are_those_of_the_study(frames: Frames) -> None:
    """These numbers are in no figure or table."""
    page = " ".join((RESULTS / "laptop" / "README.md").read_text().split())
    started = frames.eval[(frames.eval["start"] == "truth") & (frames.eval["weights"] == "raw")]
    started = started[started["paradigm"].isin(["nll", "nsgan"])]
    left = started.loc[(started["paradigm"] == "nsgan") & (started["step"] == 50), "kl_nats"]
    assert f"left, by {left.min():,.0f} to {left.max():,.0f} nats within 50 steps" in page
    assert started.loc[started["paradigm"] == "nll", "kl_nats"].max() <= 2.7
    ends = started[started["step"] == started["step"].max()]
    control = ends[ends["paradigm"] == "nll"].set_index("seed")["kl_nats"]
    for variant, words in (("zero", "10.8 (8.6 … 13.0) at 0"), ("pretrained", "8.6 (7.2 … 9.9) pretrained")):
        arm = ends[ends["variant"] == f"disc_start={variant}"].set_index("seed")["kl_nats"]
        result = mean_interval(np.log(arm / (3 * control)))
        assert f"{result.mean:.1f} ({result.low:.1f} … {result.high:.1f})" in words
        assert words in page


def test_numbers_on_overfitting_and_overlap_are_those_of_the_study(frames: Frames) -> None:
    well = frames.eval[(frames.eval["student"] == "W") & (frames.eval["num_train"] == "500")]
    by_cell = well[(well["paradigm"] == "nll") & (well["weights"] == "raw")].groupby("cell")
    nll, image = (
        (by_cell[name].last() - by_cell[name].min()) / (by_cell[name].first() - by_cell[name].min())
        for name in ("val_nll_nats", "frechet_lenet")
    )
    assert (round(nll.min()), round(nll.max())) == (11, 18)
    assert image.max() <= 0.02
    last = frames.final[(frames.final["weights"] == "last") & np.isfinite(frames.final["jsd_nats"].astype(float))]
    away = last[(last["degree"] != "W*") & ~((last["start"] == "truth") & (last["paradigm"] == "nll"))]
    assert (math.log(2) - away["jsd_nats"]).max() <= 4e-4


def test_what_is_wrong_with_the_archived_studies_is_in_their_numbers(frames: Frames) -> None:
    page = " ".join((RESULTS / "README.md").read_text().split())
    cells = frames.cells
    games = cells[(cells["source"] == "mnist") & (cells["paradigm"] == "nsgan") & (cells["degree"] == "W")]
    history = frames.history[frames.history["cell"].isin(games.index)].sort_values("step")
    late = history.groupby("cell")[["grad_norm", "loss_gen"]].apply(lambda rows: rows.tail(100).median())
    dead = late[late["grad_norm"] < 0.01]
    assert (len(dead), len(games)) == (4, 5)
    assert (math.floor(dead["loss_gen"].min()), math.floor(dead["loss_gen"].max())) == (6, 11)
    last = history[history["grad_norm"] > 0].groupby("cell")["step"].max()
    first, second = sorted(last[last < history["step"].max() - 100])
    assert f"exactly 0 after steps {first} and {second} of 2,000" in page
    raw = frames.eval[(frames.eval["num_train"] == "500") & (frames.eval["weights"] == "raw")]
    raw = raw[raw["paradigm"] == "nll"].sort_values("step")
    seeds = {degree: raw[raw["student"] == degree].groupby("seed")["val_nll_nats"] for degree in ("W", "U1")}
    best, end = (
        mean_interval(seeds["W"].min() - seeds["U1"].min()),
        mean_interval(seeds["W"].last() - seeds["U1"].last()),
    )
    assert f"differ by {end.mean:,.0f} nats; at the best step of each run by {best.mean:.1f}" in page
    assert f"({best.low:.1f} … {best.high:.1f})".replace("-", "−") in page


def test_critical_steps_on_the_page_are_those_of_the_study() -> None:
    folder = RESULTS / "equilibrium"
    page = " ".join((folder / "README.md").read_text().split())
    study = load(folder / "study.h5")
    raw = study.eval[study.eval["weights"] == "raw"].join(study.cells[["lr", "steps"]], on="cell")
    raw = raw[raw["start"] == "truth"]
    predicted = raw[(raw["step"] == 0) & np.isfinite(raw["critical_step"].astype(float))]
    low, high = predicted["critical_step"].agg(["min", "max"])
    assert f"a critical step of {low:.4f} to {high:.4f}, by seed" in page
    low, high = predicted["critical_step_run"].agg(["min", "max"])
    assert f"within the 300 steps of a run, of {low:.4f} to {high:.4f}." in page
    ends = raw[raw["step"] == raw["steps"]]
    adam = ends[(ends["paradigm"] == "nsgan") & (ends["steps"] == 800)]
    assert adam["kl_nats"].min() > 50_000
    assert ends.loc[ends["paradigm"] == "nll", "kl_nats"].max() < 2.1
    told = {0.001: "0.03 to 0.2 nats", 0.003: "1.2 to 2.0", 0.01: "21 to 63", 0.03: "2,131 to 548,619"}
    assert "Observed are {} at a step of 0.001, {} at 0.003, {} at 0.01 and {} at 0.03.".format(*told.values()) in page
    digits = {0.001: (".2f", ".1f"), 0.003: (".1f", ".1f"), 0.01: (".0f", ".0f"), 0.03: (",.0f", ",.0f")}
    for lr, words in told.items():
        kl = ends.loc[(ends["steps"] == 300) & (ends["lr"] == lr), "kl_nats"]
        assert len(kl) == 5
        assert words.removesuffix(" nats") == f"{kl.min():{digits[lr][0]}} to {kl.max():{digits[lr][1]}}"
