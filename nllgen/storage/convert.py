"""The one converter of earlier schemas: a study.h5 of schema 1 or 2 becomes what this version reads.

Schemas 1 and 2 kept a table as a group with a dataset for each column, texts in HDF5's heap, and columns without a
value as one dataset under many names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from nllgen.storage.hdf5 import find_dataset, get_array, get_json, has, open_read, schema_of, text_attr
from nllgen.storage.hdf5_data import Array, UntrustedFile
from nllgen.storage.schema import (
    CELL_NUMBER_COLUMNS,
    CELL_TEXT_COLUMNS,
    INTEGER_COLUMNS,
    TEXT_COLUMNS,
)
from nllgen.storage.study_file import LONG_TABLES, StudyFile, check_cells, is_within, read_reference, read_study
from nllgen.storage.tables import Table

OLD_SCHEMAS = (1, 2)
# names of this schema → names of earlier ones
_OLD_NAMES = {"container_sha256": "image_sha256", "extra_metrics": "supplements"}
_MAX_ROWS = 2**28
_PART_BYTES = 2**26  # of texts that are read at once
_TEXT_BYTES = 64  # of a text beside its characters


def read_any_study(path: Path) -> StudyFile:
    """Read a study.h5 of this schema or an earlier one.

    Raises:
        CorruptFileError: it is damaged, truncated or something else.
        SchemaError: it was written with a newer schema.
        MachineError: it cannot be read now.
    """
    with open_read(path) as file:
        schema = schema_of(file)
        if isinstance(schema, int | np.integer) and int(schema) in OLD_SCHEMAS:
            return _convert(file)
    return read_study(path)


def _convert(file: UntrustedFile) -> StudyFile:
    cells = {name: _texts(file, _old_path(file, name)) for name in CELL_TEXT_COLUMNS[:1]}
    num_cells = len(cells["id"])
    cells |= {name: _cell_texts(file, name, num_cells) for name in CELL_TEXT_COLUMNS[1:]}
    cells |= {name: get_array(file, f"cells/{name}", ndim=1, kind="f") for name in CELL_NUMBER_COLUMNS}
    check_cells(cells)
    samples_cell = get_array(file, "samples/cell", ndim=1, kind="iu")
    tables = {name: _long(file, name, units, num_cells) for name, units in LONG_TABLES.items()}
    if not is_within(samples_cell, num_cells):
        raise ValueError("samples point to cells that are not there")
    return StudyFile(
        name=text_attr(file, "name"),
        study=get_json(file, "study"),
        cells=cells,
        samples=get_array(file, "samples/x", ndim=4, kind="f"),
        samples_cell=samples_cell,
        reference=read_reference(file),
        datasets=get_json(file, "datasets"),
        sources=("",) * num_cells,
        **tables,
    )


def _old_path(file: UntrustedFile, name: str) -> str:
    """Return the path of a column of /cells, by its earlier name where the file has that."""
    old = f"cells/{_OLD_NAMES.get(name, name)}"
    return old if has(file, old) else f"cells/{name}"


def _cell_texts(file: UntrustedFile, name: str, num_cells: int) -> Array:
    """Read a text column of /cells; empty texts where an earlier schema had no such column."""
    path = _old_path(file, name)
    if has(file, path):
        return _texts(file, path)
    texts = np.empty(num_cells, dtype=object)
    texts[:] = ""
    return texts


def _texts(file: UntrustedFile, name: str) -> Array:
    """Read a column of HDF5's texts of variable length; any number of rows may refer to one text of the heap."""
    item = find_dataset(file, name)
    if item.rank != 1 or item.dtype.kind != "O":
        raise ValueError(f"{name} is not a column of texts")
    (length,) = item.shape
    if length > _MAX_ROWS:
        raise ValueError(f"{name} has {length} rows, more than {_MAX_ROWS}")
    file.charge(name, length * _TEXT_BYTES)
    texts, column = np.empty(length, dtype=object), h5py.Dataset(item).asstr()
    step = max(1, _PART_BYTES // file.id.get_filesize())  # no text is longer than the file
    for begin in range(0, length, step):
        part = column[begin : begin + step]
        file.charge(name, 4 * sum(map(len, part)))
        texts[begin : begin + step] = part
    return texts


def _long(file: UntrustedFile, name: str, known: Mapping[str, str], num_cells: int) -> Table:
    table: Table = {"cell": get_array(file, f"{name}/cell", ndim=1, kind="iu", max_items=_MAX_ROWS)}
    for column in known:
        if not has(file, f"{name}/{column}"):
            continue
        if column in TEXT_COLUMNS:
            table[column] = _texts(file, f"{name}/{column}").astype("U16")
        else:
            kind = "iu" if column in INTEGER_COLUMNS else "f"
            table[column] = get_array(file, f"{name}/{column}", ndim=1, kind=kind, max_items=_MAX_ROWS)
    if len({len(data) for data in table.values()}) > 1 or not is_within(table["cell"], num_cells):
        raise ValueError(f"{name} does not fit the cells")
    return {column: data for column, data in table.items() if not _is_without_value(data)}


def _is_without_value(data: Array) -> bool:
    return data.dtype.kind == "f" and len(data) > 0 and bool(np.isnan(data).all())
