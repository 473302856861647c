"""study.h5: one file with all that the analysis needs, in long form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nllgen.storage.atomic import write_bytes
from nllgen.storage.checksum import with_checksum
from nllgen.storage.hdf5 import Array, Table, check_schema, get, get_table, open_read, put, put_table, text_attr
from nllgen.storage.schema import (
    CELL_NUMBER_COLUMNS,
    CELL_TEXT_COLUMNS,
    EVAL_COLUMNS,
    FINAL_COLUMNS,
    HISTORY_COLUMNS,
    SCHEMA,
)

LONG_TABLES = {"eval": EVAL_COLUMNS, "history": HISTORY_COLUMNS, "final": FINAL_COLUMNS}
_CELL_UNITS = {**dict.fromkeys(CELL_TEXT_COLUMNS, "text"), **CELL_NUMBER_COLUMNS}


@dataclass(frozen=True)
class StudyFile:
    """A whole study as arrays.

    Attributes:
        name: the study's name.
        study: its resolved YAML as JSON-like values.
        cells: one row a cell (n,): the columns of ``layout.CELL_TEXT_COLUMNS`` and ``CELL_NUMBER_COLUMNS``.
        eval, history, final: long form, (R,) each, with an integer column ``cell`` that indexes ``cells``. Columns that
            no cell has are absent; where only some cells have one, the others' rows are NaN.
        samples: images (M, C, H, W) float32 in [0, 1].
        samples_cell: (M,) index of the cell that an image belongs to.
        reference: ``mnist`` and ``truth``: images (m, C, H, W) float32 in [0, 1].
        datasets: truth id → attributes of its dataset.h5 (entropy_nats, entropy_se_nats, truth_sha256 …).
    """

    name: str
    study: dict[str, Any]
    cells: Table
    eval: Table
    history: Table
    final: Table
    samples: Array
    samples_cell: Array
    reference: dict[str, Array] = field(default_factory=dict)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)


def write_study(path: Path, study: StudyFile) -> None:
    """Write study.h5 atomically, replacing an older one."""

    def fill(file: h5py.File) -> None:
        file.attrs["schema"] = SCHEMA
        file.attrs["name"] = study.name
        file.attrs["study"] = json.dumps(study.study)
        file.attrs["datasets"] = json.dumps(study.datasets)
        put_table(file, "cells", study.cells, _CELL_UNITS)
        for name, units in LONG_TABLES.items():
            put_table(file, name, getattr(study, name), {"cell": "row of /cells", **units})
        put(file, "samples/x", study.samples.astype(np.float32), "1")
        put(file, "samples/cell", study.samples_cell.astype(np.int64), "row of /cells")
        for name, images in study.reference.items():
            put(file, f"reference/{name}/x", images.astype(np.float32), "1")

    write_bytes(path, with_checksum(fill))


def study_name(path: Path) -> str:
    """Return the name of the study that a study.h5 holds.

    Raises:
        CorruptFileError, SchemaError: it is no study.h5 of this version.
    """
    with open_read(path) as file:
        check_schema(file, path)
        return text_attr(file, "name")


def read_study(path: Path) -> StudyFile:
    """Read and check a study.h5.

    Raises:
        CorruptFileError: it is damaged, truncated or something else.
        SchemaError: it was written with another schema.
    """
    with open_read(path) as file:
        check_schema(file, path)
        cells = _read_cells(file)
        num_cells = len(cells["id"])
        tables = {name: _read_long(file, name, units, num_cells) for name, units in LONG_TABLES.items()}
        samples = get(file, "samples/x", ndim=4, kind="f", max_items=2**31)
        samples_cell = get(file, "samples/cell", ndim=1, kind="iu")
        if len(samples) != len(samples_cell) or (len(samples_cell) and not _within(samples_cell, num_cells)):
            raise ValueError("samples point to cells that are not there")
        reference = {
            name: get(file, f"reference/{name}/x", ndim=4, kind="f", max_items=2**31)
            for name in ("mnist", "truth")
            if f"reference/{name}/x" in file
        }
        return StudyFile(
            name=text_attr(file, "name"),
            study=_json_object(text_attr(file, "study")),
            cells=cells,
            samples=samples,
            samples_cell=samples_cell,
            reference=reference,
            datasets=_json_object(text_attr(file, "datasets")),
            **tables,
        )


def _read_cells(file: h5py.File) -> Table:
    cells = {name: get(file, f"cells/{name}", ndim=1, kind="O", max_items=2**24) for name in CELL_TEXT_COLUMNS}
    cells |= {name: get(file, f"cells/{name}", ndim=1, kind="f", max_items=2**24) for name in CELL_NUMBER_COLUMNS}
    if len({len(column) for column in cells.values()}) > 1:
        raise ValueError("the columns of cells differ in length")
    return cells


def _read_long(file: h5py.File, name: str, units: Mapping[str, str], num_cells: int) -> Table:
    table = get_table(file, name, units)
    index = get(file, f"{name}/cell", ndim=1, kind="iu", max_items=2**28)
    if any(len(column) != len(index) for column in table.values()) or not _within(index, num_cells):
        raise ValueError(f"{name} does not fit the cells")
    return {"cell": index, **table}


def _within(index: Array, count: int) -> bool:
    return not len(index) or (int(index.min()) >= 0 and int(index.max()) < count)


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("an attribute is not a JSON object")
    return value
