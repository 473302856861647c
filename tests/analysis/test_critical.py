"""The Nash laboratory's panels: predicted critical steps beside observed trajectories, compared as data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nllgen_analysis import Frames, to_frames
from nllgen_analysis.figures.nash import draw_nash

from nllgen.storage.hdf5_data import Array
from nllgen.storage.study_file import StudyFile
from nllgen.study.config import Cell
from tests.analysis.conftest import build_study, make_cell
from tests.analysis.drawing import as_drawn, xs


def nash_laboratory() -> Frames:
    """Simultaneous SGD at three learning rates around a critical step of 2e-3, with controls, and one Adam arm."""
    rates = (1e-4, 1e-3, 1e-2)
    plain: dict[str, Any] = {"optimizer": "sgd", "start": "truth", "num": "fresh"}
    cells = [make_cell("W", "nsgan", seed=s, lr=lr, updates="simultaneous", **plain) for lr in rates for s in range(2)]
    cells += [make_cell("W", lr=lr, seed=s, **plain) for lr in rates for s in range(2)]
    cells += [make_cell("W", "nsgan", start="truth", num="fresh"), make_cell("W", start="truth", num="fresh")]

    def measured(cell: Cell, step: Array) -> dict[str, Any]:
        game = cell.paradigm.name == "nsgan"
        first = np.where((step == 0) & game & (cell.paradigm.optimizer == "sgd"), 1.0, np.nan)
        return {
            "critical_step": 2e-3 * first,
            "critical_step_run": (6e-3 + 1e-3 * cell.seed) * first,
            "d_minus_r_nats": step / 1000 if game else np.nan,
            "kl_nats": step * cell.paradigm.lr,
        }

    return to_frames(build_study(cells, truth=False, override=measured))


def test_the_predicted_critical_steps_stand_beside_the_last_kl_of_every_learning_rate() -> None:
    drawn = as_drawn(draw_nash(nash_laboratory()))
    data = drawn.data[drawn.data["panel"] == "critical"]
    seen = data[(data["kind"] == "seed") & (data["series"] == "nsgan")]
    np.testing.assert_allclose(seen["value"], 1000 * seen["x"])
    assert sorted(seen["x"]) == [1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2]
    predicted = data[data["kind"] == "prediction"].groupby("series")["x"]
    assert predicted.median().to_dict() == pytest.approx(
        {"critical step": 2e-3, "critical step within the run": 6.5e-3}
    )
    axes = next(ax for ax in drawn.figure.axes if ax.get_xlabel() == "learning rate")
    upright = {round(xs(line)[0], 6) for line in axes.lines if len(set(xs(line))) == 1}
    assert {2e-3, 6.5e-3} <= upright
    assert "critical step 0.002" in drawn.caption


def test_an_adam_arm_has_no_prediction() -> None:
    data = as_drawn(draw_nash(nash_laboratory())).data
    critical = data[data["panel"] == "critical"]
    adam = [cell.id for cell in nash_laboratory().configs if cell.paradigm.optimizer == "adam"]
    assert len(adam) == 2
    assert not critical["cell_id"].isin(adam).any()
    assert set(critical.loc[critical["kind"] == "seed", "series"]) == {"nsgan", "nll"}


def test_the_discriminators_distance_to_its_optimum_is_drawn_by_step() -> None:
    data = as_drawn(draw_nash(nash_laboratory())).data
    means = data[(data["panel"] == "distance") & (data["kind"] == "mean")]
    np.testing.assert_allclose(means["value"], means["x"] / 1000)


def test_without_a_prediction_the_caption_says_why(study: StudyFile) -> None:
    drawn = as_drawn(draw_nash(to_frames(study)))
    assert "critical" not in set(drawn.data["panel"])
    assert "No cell has a predicted critical step" in drawn.caption
