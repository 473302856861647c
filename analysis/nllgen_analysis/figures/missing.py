"""Cells that belong in a figure and have no value there: named in its data and its caption, never dropped silently."""

from __future__ import annotations

import pandas as pd

from nllgen_analysis.captions import cite
from nllgen_analysis.frames import OUTCOME_ORDER

KIND = "none"
_WHY = {"done": "without a value", "diverged": "diverged", "missing": "missing"}


def with_absent(data: pd.DataFrame, planned: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """A figure's data with a row of kind ``none`` for every planned cell that is not in it, and what a caption says.

    Args:
        data: the plotted numbers, with ``cell_id``.
        planned: rows of ``frames.cells`` that the figure is about.
    """
    absent = planned[~planned["id"].isin(data["cell_id"].dropna())].drop_duplicates("id")
    if absent.empty:
        return data, ""
    told = [
        cite(f"{len(ids)} {_WHY[outcome]}", ids)
        for outcome in OUTCOME_ORDER
        if len(ids := absent.loc[absent["outcome"] == outcome, "id"])
    ]
    rows = absent[["id", "outcome", "seed"]].rename(columns={"id": "cell_id"}).assign(kind=KIND)
    both = pd.concat([data, rows.assign(series=absent["group"]) if "series" in data else rows], ignore_index=True)
    total = planned["id"].nunique()
    return both, f"Not drawn, of the {total} cells that belong here: {', '.join(told)}."
