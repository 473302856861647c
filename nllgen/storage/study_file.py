"""study.h5: one file with all that the analysis needs, in long form."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nllgen.storage.atomic import write_bytes
from nllgen.storage.checksum import with_checksum
from nllgen.storage.hdf5 import (
    check_schema,
    get_array,
    get_json,
    has,
    open_read,
    put_array,
    put_json,
    text_attr,
)
from nllgen.storage.hdf5_data import Array, UntrustedFile
from nllgen.storage.schema import (
    CELL_NUMBER_COLUMNS,
    CELL_TEXT_COLUMNS,
    EVAL_COLUMNS,
    FINAL_COLUMNS,
    HISTORY_COLUMNS,
    OUTCOMES,
    SCHEMA,
)
from nllgen.storage.tables import Table, get_texts, put_texts, read_table, write_table
from nllgen.study.image_sets import REAL

LONG_TABLES = {"eval": EVAL_COLUMNS, "history": HISTORY_COLUMNS, "final": FINAL_COLUMNS}
REFERENCES = (*REAL, "truth")
_ROW = {"cell": "row of /cells"}
_MAX_PIXELS = 2**31


@dataclass(frozen=True)
class StudyFile:
    """A whole study as arrays.

    Attributes:
        name: the study's name.
        study: its resolved YAML as JSON-like values.
        cells: one row a cell (n,): the columns of ``schema.CELL_TEXT_COLUMNS`` and ``CELL_NUMBER_COLUMNS``.
        eval, history, final: long form, (R,) each, with an integer column ``cell`` that indexes ``cells``. Columns that
            no cell has are absent; where only some cells have one, the others' rows are NaN.
        samples: images (M, C, H, W) float32 in [0, 1].
        samples_cell: (M,) index of the cell that an image belongs to.
        reference: images (m, C, H, W) float32 in [0, 1] of each real source, and of the ``truth``.
        datasets: truth id → attributes of its dataset.h5 (entropy_nats, entropy_se_nats, truth_sha256 …).
        sources: (n,) digest of the files that a cell's rows were read from; empty where it has none.
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
    sources: tuple[str, ...] = ()


def write_study(path: Path, study: StudyFile) -> None:
    """Write study.h5 atomically, replacing an older one."""

    def fill(file: h5py.File) -> None:
        file.attrs["schema"] = SCHEMA
        file.attrs["name"] = study.name
        put_json(file, "study", study.study)
        put_json(file, "datasets", study.datasets)
        for name in CELL_TEXT_COLUMNS:
            put_texts(file, f"cells/{name}", study.cells[name])
        for name, unit in CELL_NUMBER_COLUMNS.items():
            put_array(file, f"cells/{name}", study.cells[name].astype(np.float64), unit)
        for name, units in LONG_TABLES.items():
            write_table(file, name, getattr(study, name), _ROW | units)
        put_array(file, "samples/x", study.samples.astype(np.float32), "1")
        put_array(file, "samples/cell", study.samples_cell.astype(np.int64), _ROW["cell"])
        for name, images in study.reference.items():
            put_array(file, f"reference/{name}/x", images.astype(np.float32), "1")
        put_texts(file, "sources", study.sources)

    write_bytes(path, with_checksum(fill))


def study_name(path: Path) -> str:
    """Return the name of the study that a study.h5 of any schema holds.

    Raises:
        CorruptFileError: it is no study.h5.
        MachineError: it cannot be read now.
    """
    with open_read(path) as file:
        return text_attr(file, "name")


def read_study(path: Path) -> StudyFile:
    """Read and check a study.h5 of this schema.

    Raises:
        CorruptFileError: it is damaged, truncated or something else.
        SchemaError: it was written with another schema.
        MachineError: it cannot be read now.
    """
    with open_read(path) as file:
        check_schema(file, path)
        cells = _read_cells(file)
        num_cells = len(cells["id"])
        tables = {name: _read_long(file, name, units, num_cells) for name, units in LONG_TABLES.items()}
        samples = get_array(file, "samples/x", ndim=4, kind="f", max_items=_MAX_PIXELS)
        samples_cell = get_array(file, "samples/cell", ndim=1, kind="iu")
        if len(samples) != len(samples_cell) or not is_within(samples_cell, num_cells):
            raise ValueError("samples point to cells that are not there")
        return StudyFile(
            name=text_attr(file, "name"),
            study=get_json(file, "study"),
            cells=cells,
            samples=samples,
            samples_cell=samples_cell,
            reference=read_reference(file),
            datasets=get_json(file, "datasets"),
            sources=tuple(get_texts(file, "sources")),
            **tables,
        )


def read_reference(file: UntrustedFile) -> dict[str, Array]:
    """Read the pictures of real data and of the truth, where there are any."""
    names = [name for name in REFERENCES if has(file, f"reference/{name}/x")]
    return {name: get_array(file, f"reference/{name}/x", ndim=4, kind="f", max_items=_MAX_PIXELS) for name in names}


def _read_cells(file: UntrustedFile) -> Table:
    cells: Table = {name: get_texts(file, f"cells/{name}") for name in CELL_TEXT_COLUMNS}
    cells |= {name: get_array(file, f"cells/{name}", ndim=1, kind="f") for name in CELL_NUMBER_COLUMNS}
    check_cells(cells)
    return cells


def check_cells(cells: Table) -> None:
    """Refuse columns of different lengths and outcomes that no run has.

    Raises:
        ValueError: they are there.
    """
    if len({len(column) for column in cells.values()}) > 1:
        raise ValueError("the columns of cells differ in length")
    unknown = set(cells["outcome"]) - {*OUTCOMES, "missing"}
    if unknown:
        raise ValueError(f"outcome is {min(unknown)!r}, not one of {', '.join(OUTCOMES)} or missing")


def _read_long(file: UntrustedFile, name: str, units: dict[str, str], num_cells: int) -> Table:
    table = read_table(file, name, _ROW | units)
    if "cell" not in table or not is_within(table["cell"], num_cells):
        raise ValueError(f"{name} does not fit the cells")
    return table


def is_within(index: Array, count: int) -> bool:
    """Return whether every index is one of so many rows."""
    return not len(index) or (int(index.min()) >= 0 and int(index.max()) < count)
