"""Tables of report.html: texts with the numbers that they are sorted by and the cells behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nllgen_analysis import tables
from nllgen_analysis.frames import OUTCOME_ORDER, Frames
from nllgen_analysis.text import MINUS, number
from nllgen_analysis.trials import Trials

NO_VALUE = ("", "–")  # texts of cells of a table that have none
# column of the cells table → heading; columns without any value are left out
CELL_COLUMNS = {
    "student": "degree",
    "paradigm": "paradigm",
    "setting": "data",
    "variant": "variant",
    "seed": "seed",
    "outcome": "outcome",
    "kl_nats": "KL (nats)",
    "frechet_lenet": "Fréchet (LeNet)",
    "frechet_inception": "Fréchet (Inception)",
    "test_nll_nats": "test NLL (nats)",
    "test_bits_per_dim": "bits/dim",
    "num_parameters": "parameters",
    "steps": "steps",
    "seconds_per_step": "s/step",
    "host": "host",
}
NUMERIC = frozenset(name for name in CELL_COLUMNS if name not in {
    "student", "paradigm", "setting", "variant", "outcome", "host"
})  # fmt: skip
FILTERS = ("student", "paradigm", "setting", "outcome")  # columns of the cells table that have a menu


@dataclass(frozen=True)
class Value:
    """A table cell: its text, the number that it is sorted by (None: the text), ids of the cells behind it."""

    text: str
    key: float | None = None
    cells: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """Return whether the text is aligned to the right, as numbers are."""
        return self.key is not None or self.text == "–"


@dataclass(frozen=True)
class Table:
    """A table of the page; a column in which no row has a value is left out."""

    columns: list[str]
    rows: list[list[Value]]

    @classmethod
    def with_values(cls, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> Table:
        """Return a table without the columns that are empty in every row."""
        kept = [place for place in range(len(columns)) if any(row[place].text not in NO_VALUE for row in rows)]
        return cls([columns[place] for place in kept], [[row[place] for place in kept] for row in rows])


def plain_rows(table: pd.DataFrame) -> Table:
    """Return all rows of a table."""
    return Table.with_values(_headings(table), [[value_of(item) for item in row] for row in table.to_numpy(object)])


def outcome_cells(frames: Frames) -> dict[str, list[str]]:
    """Return the ids of the cells by outcome, without the truth's own training."""
    cells = frames.cells[frames.cells["role"] != "truth"]
    return {outcome: list(cells.loc[cells["outcome"] == outcome, "id"]) for outcome in OUTCOME_ORDER}


def group_rows(frames: Frames) -> Table:
    """Return the groups, each number with the cells that it counts or averages."""
    table = tables.groups_table(frames)
    cells = frames.cells[frames.cells["role"] != "truth"]
    ids = dict(iter(cells.groupby(tables.GROUP, sort=False)))
    rows = []
    for row in table.to_dict("records"):
        own = ids[tuple(row[name] for name in tables.GROUP)]
        rows.append([_of_group(name, value, own) for name, value in row.items()])
    return Table.with_values(_headings(table.rename(columns=CELL_COLUMNS)), rows)


def _of_group(name: str, value: object, own: pd.DataFrame) -> Value:
    if name in tables.GROUP:
        return value_of(value)
    behind = own[own["outcome"] == name] if name in OUTCOME_ORDER else own
    return value_of(value, behind["id"])


def final_rows(frames: Frames) -> Table:
    """Return the final metrics as ``mean ± half``, sorted by the mean."""
    table = tables.printed_table(frames)
    means = tables.final_means(frames).drop_duplicates([*tables.GROUP, "weights"])
    if "variant" not in table:
        means = means.drop(columns="variant")
    names = [name for name in (*tables.GROUP, "weights") if name in means]
    ids = {tuple(row[name] for name in names): row["cell_ids"].split() for row in means.to_dict("records")}
    metrics = {"seeds", *tables.MAIN_METRICS.values()}
    rows = []
    for row in table.to_dict("records"):
        behind = ids.get(tuple(row.values())[: len(names)], [])
        rows.append([_estimate(text, behind) if name in metrics else Value(text) for name, text in row.items()])
    return Table.with_values(list(table.columns), rows)


def _estimate(text: str, cells: Sequence[str]) -> Value:
    mean = text.split(" ")[0].replace(",", "").replace(MINUS, "-")
    known = mean != "–" and "∞" not in mean
    return Value(text, float(mean) if known else None, tuple(cells))


def resource_rows(frames: Frames) -> Table:
    """Return the resources of training, each number with its cells."""
    table = tables.resources_table(frames)
    rows = []
    for row in table.to_dict("records"):
        ids = str(row.pop("cell_ids")).split()
        rows.append([Value("") if pd.isna(value) else value_of(value, ids) for value in row.values()])
    columns = table.drop(columns="cell_ids", errors="ignore").rename(columns=CELL_COLUMNS)
    return Table.with_values(_headings(columns), rows)


def trial_rows(trials: Trials) -> Table:
    """Return the trials of a tuning study, each number with its runs."""
    rows = []
    for row in trials.table.to_dict("records"):
        ids = str(row.pop("cell_ids")).split()
        row["is_winner"] = "wins" if row["is_winner"] else ""
        rows.append([value_of(value, ids) for value in row.values()])
    columns = trials.table.drop(columns="cell_ids").rename(columns={"is_winner": ""})
    return Table.with_values(_headings(columns), rows)


def cell_rows(frames: Frames) -> dict[str, Any]:
    """Return every cell, and the menus that filter the rows."""
    table = tables.cells_table(frames)
    shown = [name for name in CELL_COLUMNS if name in table and not _empty(table[name])]
    rows = [
        {
            "id": row["id"],
            "anchor": f"{row['role']}-{row['id']}",
            "outcome": row["outcome"],
            "title": row["label"],
            "values": [value_of(row[name]) for name in shown],
        }
        for row in table.to_dict("records")
    ]
    menus = [
        {"heading": CELL_COLUMNS[name], "index": shown.index(name) + 1, "options": list(table[name].unique())}
        for name in FILTERS
        if name in shown and table[name].nunique() > 1
    ]
    return {"columns": [(CELL_COLUMNS[name], name in NUMERIC) for name in shown], "rows": rows, "menus": menus}


def anchors(frames: Frames) -> dict[str, str]:
    """Return the anchor of each cell's row; a cell hides the truth's training with the same id."""
    rows = frames.cells.sort_values("role", ascending=False)[["id", "role"]].itertuples(index=False)
    return {row.id: f"{row.role}-{row.id}" for row in rows}


def _headings(table: pd.DataFrame) -> list[str]:
    return [str(name).replace("_", " ") for name in table.columns]


def _empty(column: pd.Series) -> bool:
    return bool((column.isna() | (column == "")).all())


def value_of(value: object, cells: Sequence[str] = ()) -> Value:
    """Return a table cell of a text or a number, of which the given cells are behind."""
    if isinstance(value, str):
        return Value(value)
    finite = tables.finite_or_none(value)
    if finite is None:
        return Value("–" if value is None or pd.isna(value) else str(value))
    whole = finite.is_integer() and abs(finite) < 1e12
    behind = tuple(cells)
    return Value(f"{int(finite):,}".replace("-", MINUS) if whole else number(finite, 4), finite, behind)
