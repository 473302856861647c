"""The minutes that ``plan`` states for a cell of each arm of a published study, beside those that the cells took.

``python -m benchmarks.arms thesis`` reads docs/results/thesis: study.h5, and calibration.json, the machine's speed as
``nllgen plan thesis --json`` stated it before the run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
from nllgen_analysis.frames import Frames, load

from nllgen.planning.calibration import Calibration
from nllgen.planning.cost import cell_cost
from nllgen.study.config import Study
from nllgen.study.load import load_study

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def arms(frames: Frames, study: Study, calibration: Calibration) -> pd.DataFrame:
    """Return a row for each arm with a result, the sum of all last: group, cells, planned and took.

    ``planned`` and ``took`` are means in minutes, in the sum hours. ``took`` is the time of steps and evaluations, as
    the cells recorded it, whatever was between their attempts.
    """
    costs = {cell.id: cell_cost(cell, study, calibration).seconds(cell.paradigm.steps) for cell in study.cells}
    seconds = frames.history.groupby("cell")["time_s"].max()
    for table in (frames.eval, frames.final):
        seconds = seconds.add(table.groupby("cell")["time_s"].sum(), fill_value=0.0)
    cells = frames.cells[(frames.cells["outcome"] == "done") & frames.cells["id"].isin(costs)]
    cells = cells.assign(planned=cells["id"].map(costs) / 60, took=seconds.reindex(cells.index) / 60)
    by_arm = cells.groupby("group", sort=False).agg(
        cells=("id", "size"), planned=("planned", "mean"), took=("took", "mean")
    )
    by_arm.loc["all, in hours"] = [len(cells), cells["planned"].sum() / 60, cells["took"].sum() / 60]
    return by_arm.astype({"cells": int}).reset_index()


def printed(table: pd.DataFrame) -> str:
    """Return Markdown."""
    rows = [
        f"| {row.group} | {row.cells} | {row.planned:.1f} | {row.took:.1f} | {row.planned / row.took - 1:+.0%} |"
        for row in table.itertuples(index=False)
    ]
    head = "| arm | cells | planned, minutes a cell | took | planned beside it |"
    return "\n".join((head, "|---|---|---|---|---|", *rows))


def published(name: str) -> str:
    """Return the table of a study of docs/results."""
    calibration = Calibration(**json.loads((RESULTS / name / "calibration.json").read_text()))
    return printed(arms(load(RESULTS / name / "study.h5"), load_study(name, precision="fp32"), calibration))


if __name__ == "__main__":
    print(published(sys.argv[1]))
