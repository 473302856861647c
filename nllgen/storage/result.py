"""result.h5: the numbers of one finished run. Complete and validated, or absent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from nllgen.errors import NllgenError
from nllgen.storage.atomic import part_file, publish, write_part
from nllgen.storage.checksum import with_checksum
from nllgen.storage.hdf5 import check_schema, get_array, get_json, open_read, put_array, put_json
from nllgen.storage.hdf5_data import Array
from nllgen.storage.head import RESULT_BYTES, checked_attrs
from nllgen.storage.schema import (
    EVAL_COLUMNS,
    FINAL_COLUMNS,
    HEAD_ATTRS,
    HISTORY_COLUMNS,
    RESULT_ATTRS,
    SCHEMA,
)
from nllgen.storage.study_dir import TaskDir
from nllgen.storage.tables import Table, digest_array, digest_table, read_table, write_table
from nllgen.storage.visibility import is_there
from nllgen.study.stored import parse_cell_json

TABLES = {"history": HISTORY_COLUMNS, "eval": EVAL_COLUMNS, "final": FINAL_COLUMNS}
_TIME_UNIT = "s"  # columns that measure time stay out of the science digest
_MAX_SAMPLES = 2**28  # values


@dataclass(frozen=True)
class Result:
    """The result of one run.

    Attributes:
        attrs: ``schema.RESULT_ATTRS`` without schema and science_sha256, which writing adds.
        history: columns (S,) by logged step; a column that was not asked for is absent.
        eval: columns (E,) by evaluation.
        final: columns (F,) by kept weights, on the test split.
        samples: (n, C, H, W) float32 pixels in [0, 1].
    """

    attrs: dict[str, Any]
    history: Table
    eval: Table
    final: Table
    samples: Array

    @property
    def cell_id(self) -> str:
        """Return the id of the cell that was run."""
        return str(self.attrs["cell_id"])


def science_sha256(result: Result) -> str:
    """Return the digest over the cell's id, its outcome, every table and the samples, without what measures time."""
    digest = hashlib.sha256(f"{result.cell_id}/{result.attrs['outcome']}".encode())
    for name, known in TABLES.items():
        table = getattr(result, name)
        digest_table(digest, name, {column: table[column] for column in table if known[column] != _TIME_UNIT})
    digest_array(digest, "samples/x", result.samples)
    return digest.hexdigest()


def write_result(path: Path, result: Result, attempt: str, before_publication: Callable[[], None]) -> bool:
    """Write, read back, validate and publish a result; one that stands there is never replaced.

    Args:
        path: the final name.
        result: the content.
        attempt: tells this writer's ``.part`` from others'.
        before_publication: called when the part is valid; it puts the weights in place, under their digest.

    Returns:
        Whether this result was published; False where another one was first.
    """
    attrs = {"schema": SCHEMA, **result.attrs, "science_sha256": science_sha256(result)}

    def fill(file: h5py.File) -> None:
        file.attrs["schema"] = SCHEMA
        put_json(file, "attributes", attrs)
        for name, known in TABLES.items():
            write_table(file, name, getattr(result, name), known)
        put_array(file, "samples/x", result.samples, "1")

    with part_file(path, attempt) as part:
        try:
            write_part(part, with_checksum(fill, {name: attrs[name] for name in (*HEAD_ATTRS, "device")}))
            read_result(part)
            if is_there(path):
                return False
            before_publication()
        except (NllgenError, OSError):
            if is_there(path):  # whoever published it has removed this attempt's parts
                return False
            raise
        return publish(part, path)


def read_result(path: Path) -> Result:
    """Read a result and prove it whole: attributes, shapes, the cell's id, the science digest.

    Raises:
        CorruptFileError: it is damaged, truncated, inconsistent or something else.
        SchemaError: it was written with another schema, or its paradigm or model is unknown here.
        MachineError: it cannot be read now.
    """
    with open_read(path, RESULT_BYTES) as file:
        check_schema(file, path)
        attrs = checked_attrs(get_json(file, "attributes"), RESULT_ATTRS)
        tables = {name: read_table(file, name, known) for name, known in TABLES.items()}
        samples = get_array(file, "samples/x", ndim=4, kind="f", max_items=_MAX_SAMPLES)
        result = Result(attrs=attrs, samples=samples, **tables)
        _validate(result, path)
    return result


def _validate(result: Result, path: Path) -> None:
    cell = parse_cell_json(result.attrs["cell"], str(path))
    if cell.id != result.attrs["cell_id"]:
        raise ValueError(f"cell_id is {result.attrs['cell_id']}, its cell's id is {cell.id}")
    for name, table in (("eval", result.eval), ("final", result.final)):
        if "weights" not in table or "step" not in table:
            raise ValueError(f"{name} has no weights or step column")
    if science_sha256(result) != result.attrs["science_sha256"]:
        raise ValueError("the science digest does not match the content")


def read_final(path: Path) -> dict[str, float]:
    """Return the final numbers of a run's last weights, column → value; empty where none were measured.

    Raises:
        CorruptFileError, SchemaError, MachineError: as :func:`read_result`.
    """
    with open_read(path, RESULT_BYTES) as file:
        check_schema(file, path)
        table = read_table(file, "final", FINAL_COLUMNS)
        rows = [row for row, weights in enumerate(table["weights"]) if weights == "last"]
        return {name: float(table[name][rows[0]]) for name in table if name != "weights"} if rows else {}


def read_attrs(path: Path) -> dict[str, Any]:
    """Return every attribute, checked for its type, the schema and the outcome.

    Raises:
        CorruptFileError, SchemaError, MachineError: as :func:`read_result`.
    """
    with open_read(path, RESULT_BYTES) as file:
        check_schema(file, path)
        return checked_attrs(get_json(file, "attributes"), RESULT_ATTRS)


def model_of(task_dir: TaskDir) -> Path:
    """Return the path of the weights that a task's result was measured on.

    Raises:
        CorruptFileError, SchemaError, MachineError: as :func:`read_result`.
    """
    return task_dir.model(read_attrs(task_dir.result)["model_sha256"])
