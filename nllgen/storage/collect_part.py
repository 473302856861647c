"""Rows of many results in long form: read by several processes, taken from an earlier study.h5, joined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nllgen.errors import CorruptFileError, SchemaError
from nllgen.storage.extra_metrics import with_extra_metrics
from nllgen.storage.hdf5_data import Array
from nllgen.storage.processes import completed, num_processes
from nllgen.storage.result import Result, read_result
from nllgen.storage.schema import CELL_NUMBER_COLUMNS, CELL_TEXT_COLUMNS, INTEGER_COLUMNS, TEXT_COLUMNS, TEXT_WIDTH
from nllgen.storage.study_dir import TaskDir
from nllgen.storage.study_file import LONG_TABLES, StudyFile
from nllgen.storage.tables import Table

Wanted = Sequence[tuple[int, TaskDir]]  # (row of /cells, folder)
_MANY = 500  # results: reading fewer takes no longer than starting processes
_CHUNK = 200


@dataclass
class Part:
    """The results of some rows of /cells.

    Attributes:
        attrs: row → attributes of its result.
        tables: history, eval and final in long form, with the column ``cell``, ordered by it.
        samples, samples_cell: images (m, C, H, W) and the row of each (m,).
        holes: row → why there is no result, or no extra metrics.
    """

    attrs: dict[int, dict[str, Any]] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    samples: Array = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.float32))
    samples_cell: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    holes: dict[int, str] = field(default_factory=dict)


def empty_part() -> Part:
    """Return a part without results."""
    return join_parts([])


def read_parts(wanted: Wanted, progress: Callable[[int, int], None] | None = None) -> list[Part]:
    """Read results, in several processes where there are many: HDF5 reads one file at a time in a process.

    Raises:
        MachineError: a result cannot be read now, or a process was killed.
    """
    chunks = [wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK)]
    num = num_processes()
    parts: list[Part] = []
    read: Iterable[Part] = map(read_part, chunks)
    if num > 1 and len(wanted) >= _MANY:
        read = (part for _, part in completed(read_part, chunks, num, "reads results"))
    num_read = 0
    for part in read:
        parts.append(part)
        num_read += len(part.attrs) + len(part.holes)
        if progress:
            progress(num_read, len(wanted))
    return parts


def read_part(wanted: Wanted) -> Part:
    """Read some results; those that are damaged become holes."""
    results: dict[int, Result] = {}
    holes: dict[int, str] = {}
    for row, task_dir in wanted:
        try:
            results[row] = read_result(task_dir.result)
            results[row] = with_extra_metrics(results[row], task_dir.all_extra_metrics())
        except (CorruptFileError, SchemaError) as error:  # where it is of extra metrics, the run's own are whole
            holes[row] = error.message
    samples = [result.samples for result in results.values() if len(result.samples)]
    counts = [len(result.samples) for result in results.values()]
    part = Part(
        attrs={row: _cell_attrs(result) for row, result in results.items()},
        tables={name: _long({row: getattr(result, name) for row, result in results.items()}) for name in LONG_TABLES},
        samples_cell=np.repeat(np.array(list(results), np.int64), counts),
        holes=holes,
    )
    if samples:
        part.samples = np.concatenate(samples)
    return part


def _cell_attrs(result: Result) -> dict[str, Any]:
    """Return the attributes that /cells has."""
    return {name: result.attrs[name] for name in (*CELL_TEXT_COLUMNS, *CELL_NUMBER_COLUMNS) if name in result.attrs}


def _long(tables: Mapping[int, Table]) -> Table:
    """Return one table of all rows' tables, with the column ``cell``; a column that some lack is NaN there."""
    lengths = [len(table["step"]) for table in tables.values()]
    return {"cell": np.repeat(np.array(list(tables), np.int64), lengths), **_stack(list(tables.values()), lengths)}


def _stack(tables: Sequence[Table], lengths: Sequence[int]) -> Table:
    columns = dict.fromkeys(column for table in tables for column in table)
    return {
        column: np.concatenate(
            [table[column] if column in table else np.full(n, np.nan) for table, n in zip(tables, lengths, strict=True)]
        )
        for column in columns
    }


def part_of_study(study: StudyFile, rows: Mapping[int, int]) -> Part:
    """Return the results of an earlier study.h5.

    Args:
        study: the earlier file.
        rows: row in it → row in the new one; others are left out.
    """
    new_row = np.full(len(study.cells["id"]), -1, np.int64)
    new_row[list(rows)] = list(rows.values())
    columns = (*CELL_TEXT_COLUMNS, *CELL_NUMBER_COLUMNS)
    attrs = {new: {name: study.cells[name][old] for name in columns} for old, new in rows.items()}
    tables = {}
    for name in LONG_TABLES:
        table = getattr(study, name)
        keep = new_row[table["cell"]] >= 0
        tables[name] = {column: data[keep] for column, data in table.items()} | {"cell": new_row[table["cell"]][keep]}
    keep = new_row[study.samples_cell] >= 0
    return Part(attrs, tables, study.samples[keep], new_row[study.samples_cell][keep])


def join_parts(parts: Sequence[Part]) -> Part:
    """Return the results of all parts, ordered by the rows of /cells."""
    joined = Part()
    for part in parts:
        joined.attrs |= part.attrs
        joined.holes |= part.holes
    for name, known in LONG_TABLES.items():
        tables = [part.tables[name] for part in parts if name in part.tables and len(part.tables[name]["cell"])]
        joined.tables[name] = _ordered(_stack(tables, [len(table["cell"]) for table in tables]), known)
    with_samples = [part for part in parts if len(part.samples)]
    if with_samples:
        cells = np.concatenate([part.samples_cell for part in with_samples])
        order = np.argsort(cells, kind="stable")
        joined.samples = np.concatenate([part.samples for part in with_samples])[order]
        joined.samples_cell = cells[order]
    return joined


def _ordered(table: Table, known: Mapping[str, str]) -> Table:
    """Return a table ordered by cell, its columns in the schema's order; the columns of keys are always there."""
    keys: dict[str, Any] = {
        "cell": np.int64,
        **dict.fromkeys(INTEGER_COLUMNS & known.keys(), np.int64),
        **dict.fromkeys(TEXT_COLUMNS & known.keys(), f"U{TEXT_WIDTH}"),
    }
    empty: Table = {name: np.zeros(0, dtype) for name, dtype in keys.items()}
    table = empty | table
    order = np.argsort(table["cell"], kind="stable")
    return {name: table[name][order] for name in ("cell", *known) if name in table}
