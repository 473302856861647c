"""result.h5: what one cell found. Complete and validated, or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nllgen.errors import CorruptFileError
from nllgen.storage.atomic import locked, part_file, publish, write_part
from nllgen.storage.checksum import verify_checksum, with_checksum
from nllgen.storage.hdf5 import (
    Array,
    Table,
    check_schema,
    get,
    get_table,
    number_attr,
    open_read,
    put,
    put_table,
    require_schema,
    text_attr,
)
from nllgen.storage.schema import (
    EVAL_COLUMNS,
    FINAL_COLUMNS,
    HEAD_ATTRS,
    HISTORY_COLUMNS,
    INTEGER_COLUMNS,
    OUTCOMES,
    RESULT_ATTRS,
    SCHEMA,
    TEXT_COLUMNS,
)
from nllgen.study.config import Cell

TABLES = {"history": HISTORY_COLUMNS, "eval": EVAL_COLUMNS, "final": FINAL_COLUMNS}
_NUMBERS = {"num_threads", "num_cpus", "num_parameters", "seconds_per_step", "attempts", "schema"}
_OUTSIDE_SCIENCE = frozenset({"s"})  # units of columns that measure time


@dataclass(frozen=True)
class Result:
    """One cell's result.

    Attributes:
        attrs: ``layout.RESULT_ATTRS`` without schema and science_sha256, which writing adds.
        history: columns (S,) by logged step.
        eval: columns (E,) by evaluation; NaN where a metric was not asked for.
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
        """Id of the cell that this is the result of."""
        return str(self.attrs["cell_id"])


def columns(rows: list[dict[str, Any]], known: Mapping[str, str]) -> Table:
    """Rows to every known column in the layout's dtypes, NaN where a row lacks a value."""
    table: Table = {}
    for name in known:
        if name in INTEGER_COLUMNS:
            table[name] = np.array([row[name] for row in rows], dtype=np.int64)
        elif name in TEXT_COLUMNS:
            table[name] = np.array([row[name] for row in rows], dtype=str)
        else:
            table[name] = np.array([row.get(name, np.nan) for row in rows], dtype=np.float64)
    return table


def science_sha256(result: Result) -> str:
    """Digest over the cell's id, its outcome, every table and the samples, without what measures time."""
    digest = hashlib.sha256(f"{result.cell_id}/{result.attrs['outcome']}".encode())
    for name, known in TABLES.items():
        for column, data in sorted(getattr(result, name).items()):
            if known[column] not in _OUTSIDE_SCIENCE:
                _update(digest, f"{name}/{column}", data)
    _update(digest, "samples/x", result.samples)
    return digest.hexdigest()


def _update(digest: Any, name: str, data: Array) -> None:
    text = data.dtype.kind in "UO"
    digest.update(f"{name}{data.shape}{'text' if text else data.dtype.str}".encode())
    digest.update(json.dumps(data.tolist()).encode() if text else np.ascontiguousarray(data).tobytes())


def write_result(path: Path, result: Result, attempt: str, before_publication: Callable[[], None]) -> bool:
    """Write, read back, validate and publish a result; one that stands there is never replaced.

    Args:
        path: the final name.
        result: what to write.
        attempt: tells this writer's ``.part`` from others'.
        before_publication: called when the part is valid; the weights are put in place here.

    Returns:
        Whether this result was published, False where another one was first.
    """

    attrs = {"schema": SCHEMA, **result.attrs, "science_sha256": science_sha256(result)}

    def fill(file: h5py.File) -> None:
        for name, value in attrs.items():
            file.attrs[name] = value
        for name, known in TABLES.items():
            put_table(file, name, getattr(result, name), known)
        put(file, "samples/x", result.samples, "1")

    with part_file(path, attempt) as part:
        write_part(part, with_checksum(fill, {name: attrs[name] for name in HEAD_ATTRS}))
        read_result(part)
        with locked(path.parent):  # a late attempt must not put its weights beside another's result
            if path.exists():
                return False
            before_publication()
            return publish(part, path)


def read_result(path: Path) -> Result:
    """Read a result and prove it whole: attributes, shapes, the cell's id, the science digest.

    Raises:
        CorruptFileError: it is damaged, truncated, inconsistent or something else.
        SchemaError: it was written with another schema.
        MachineError: it cannot be read.
    """
    with open_read(path) as file:
        check_schema(file, path)
        attrs = {name: number_attr(file, name) if name in _NUMBERS else text_attr(file, name) for name in RESULT_ATTRS}
        tables = {name: get_table(file, name, known) for name, known in TABLES.items()}
        samples = get(file, "samples/x", ndim=4, kind="f", max_items=2**28)
        result = Result(attrs=attrs, samples=samples, **tables)
        _validate(result)
    return result


def _validate(result: Result) -> None:
    attrs = result.attrs
    if attrs["outcome"] not in OUTCOMES:
        raise ValueError(f"outcome is {attrs['outcome']!r}, not one of {', '.join(OUTCOMES)}")
    cell = Cell.model_validate_json(attrs["cell"])
    if cell.id != attrs["cell_id"]:
        raise ValueError(f"cell_id is {attrs['cell_id']}, its cell's id is {cell.id}")
    for name, table in (("eval", result.eval), ("final", result.final)):
        if "weights" not in table or "step" not in table:
            raise ValueError(f"{name} has no weights or step column")
    if science_sha256(result) != attrs["science_sha256"]:
        raise ValueError("the science digest does not match the content")


def read_head(path: Path) -> dict[str, Any]:
    """``layout.HEAD_ATTRS`` of a file that has proved whole, without opening it as HDF5: all that a plan needs.

    Raises:
        CorruptFileError, SchemaError, MachineError: as :func:`read_result`.
    """
    try:
        head = json.loads(verify_checksum(path).head)
        require_schema(head["schema"], path)
        kinds = {name: (int, float) if name in _NUMBERS else str for name in HEAD_ATTRS}
        if not all(isinstance(head[name], kind) for name, kind in kinds.items()) or head["outcome"] not in OUTCOMES:
            raise ValueError("its head has values of other kinds than a result's")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptFileError(f"{path}: not a result ({error})", "remove it and submit the study again") from error
    return dict(head)


def read_attrs(path: Path) -> dict[str, Any]:
    """Every attribute, checked for schema and outcome. Read once for each content.

    Raises:
        CorruptFileError, SchemaError, MachineError: as :func:`read_result`.
    """
    return dict(_read_attrs(path, verify_checksum(path).identity))


@lru_cache(maxsize=2**16)
def _read_attrs(path: Path, identity: tuple[int, ...]) -> dict[str, Any]:
    with open_read(path) as file:
        check_schema(file, path)
        attrs = {name: number_attr(file, name) if name in _NUMBERS else text_attr(file, name) for name in RESULT_ATTRS}
        if attrs["outcome"] not in OUTCOMES:
            raise ValueError(f"outcome is {attrs['outcome']!r}")
        if any(name not in file for name in (*TABLES, "samples/x")):
            raise CorruptFileError(f"{path}: a table is missing", "remove it and submit the study again")
        return attrs
