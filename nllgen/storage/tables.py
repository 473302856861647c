"""Tables: one compound HDF5 dataset each, a field a column, read and written in one call.

A value has one encoding. Every NaN is the same NaN before it is written and before it is hashed: processors differ in
the sign and payload of the NaN that they make, and a digest over bytes would tell such results apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import h5py
import numpy as np
from h5py import h5t

from nllgen.storage.hdf5 import COMPRESSED, MAX_TEXT_BYTES, find_dataset, get_array
from nllgen.storage.hdf5_data import Array, UntrustedFile, read_data, types_of
from nllgen.storage.schema import INTEGER_COLUMNS, TEXT_COLUMNS, TEXT_WIDTH

Table = dict[str, Array]
_MAX_ROWS = 2**28
_COMPRESSED_BYTES = 2**16  # a smaller table is read faster as it is
_ROW_BYTES = 128  # of a row beside its values, where they become Python's


def make_table(rows: list[dict[str, Any]], known: Mapping[str, str]) -> Table:
    """Return rows as columns in the schema's dtypes; a column that no row has is absent.

    Args:
        rows: of plain values; one that lacks a column has NaN there.
        known: column → unit.
    """
    present = {name for row in rows for name in row} | INTEGER_COLUMNS | TEXT_COLUMNS
    table: Table = {}
    for name in known:
        if name not in present:
            continue
        if name in INTEGER_COLUMNS:
            table[name] = np.array([row[name] for row in rows], dtype=np.int64)
        elif name in TEXT_COLUMNS:
            table[name] = np.array([row[name] for row in rows], dtype=f"U{TEXT_WIDTH}")
        else:
            table[name] = canonical(np.array([row.get(name, np.nan) for row in rows], dtype=np.float64))
    return table


def canonical(data: Array) -> Array:
    """Return numbers with every NaN replaced by the one that NumPy writes as ``nan``."""
    if data.dtype.kind != "f":
        return data
    missing = np.isnan(data)
    return np.where(missing, np.array(np.nan, data.dtype), data) if missing.any() else data


def write_table(group: h5py.Group, name: str, table: Table, units: Mapping[str, str]) -> None:
    """Write columns of one length as one compound dataset, in the order of ``units``, which are written as JSON.

    Raises:
        ValueError: the columns differ in length, one has no unit, or a text is too long.
    """
    known = {column: unit for column, unit in units.items() if column in table}
    if len(known) < len(table):
        raise ValueError(f"columns without a unit: {', '.join(sorted(table.keys() - known.keys()))}")
    rows = _to_rows({column: table[column] for column in known})
    compressed = COMPRESSED if rows.nbytes > _COMPRESSED_BYTES else {}
    group.create_dataset(name, data=rows, **compressed).attrs["units"] = json.dumps(known)


def _to_rows(table: Table) -> Array:
    lengths = {len(data) for data in table.values()}
    if len(lengths) > 1:
        raise ValueError(f"columns of different lengths: {sorted(lengths)}")
    columns = {name: _encoded(data) if data.dtype.kind in "UO" else canonical(data) for name, data in table.items()}
    rows = np.empty(lengths.pop() if lengths else 0, dtype=[(name, data.dtype) for name, data in columns.items()])
    for name, data in columns.items():
        rows[name] = data
    return rows


def _encoded(texts: Array) -> Array:
    encoded = np.char.encode(texts.astype(str), "utf-8")
    if encoded.dtype.itemsize > TEXT_WIDTH:
        raise ValueError(f"a text has more than {TEXT_WIDTH} bytes: {max(texts, key=len)!r}")
    return encoded.astype(f"S{TEXT_WIDTH}")


def read_table(file: UntrustedFile, name: str, known: Mapping[str, str]) -> Table:
    """Read the known columns of a table; columns that other programs have added are left.

    Raises:
        ValueError: it is no table, its columns have other types, or it declares more rows than it can hold.
        KeyError: it is not there.
    """
    rows = read_rows(file, name)
    table: Table = {}
    for column in known:
        if column not in (rows.dtype.names or ()):
            continue
        data = rows[column]
        expected = (
            "S" if known[column] == "text" or column in TEXT_COLUMNS else "i" if _is_integer(column, known) else "f"
        )
        if data.dtype.kind != expected or data.ndim != 1 or (expected == "S" and data.dtype.itemsize > TEXT_WIDTH):
            raise ValueError(f"{name}/{column} holds {data.dtype}, not what its schema says")
        # NumPy 1 decodes an empty array to numbers
        table[column] = np.char.decode(data, "utf-8").astype(str, copy=False) if expected == "S" else data
    return table


def _is_integer(column: str, known: Mapping[str, str]) -> bool:
    return column in INTEGER_COLUMNS or known[column].startswith("row of")


def read_rows(file: UntrustedFile, name: str) -> Array:
    """Return a compound dataset as a structured array.

    Raises:
        ValueError, KeyError: as :func:`read_table`.
    """
    item = find_dataset(file, name)
    file_type = item.get_type()
    if not isinstance(file_type, h5t.TypeCompoundID) or item.rank != 1:
        raise ValueError(f"{name} is not a table")
    dtype = types_of(file_type.encode())[0]
    if any(dtype[column].kind not in "ifS" for column in dtype.names or ()):
        raise ValueError(f"a column of {name} is neither a number nor a text of fixed length")
    (length,) = item.shape
    if length > _MAX_ROWS:
        raise ValueError(f"{name} has {length} rows, more than {_MAX_ROWS}")
    file.charge(name, length * _ROW_BYTES)
    return read_data(file, item, name)


def put_texts(group: h5py.Group, name: str, texts: Iterable[str]) -> None:
    """Write texts of any length as the bytes of a JSON list.

    HDF5's own texts of variable length lie in a heap, which a flipped bit sends into an endless loop.
    """
    content = np.frombuffer(json.dumps([str(text) for text in texts]).encode(), np.uint8)
    group.create_dataset(name, data=content, compression="gzip", compression_opts=1).attrs["unit"] = "JSON"


def get_texts(file: UntrustedFile, name: str) -> Array:
    """Read what :func:`put_texts` wrote, (n,) of Python's texts: one long text does not widen the others.

    Raises:
        ValueError, KeyError: it is not there, or something else.
    """
    text = get_array(file, name, ndim=1, kind="u", max_items=MAX_TEXT_BYTES).tobytes()
    file.charge_json(name, text)
    values = json.loads(text)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} is not a list of texts")
    texts = np.empty(len(values), dtype=object)
    texts[:] = values
    return texts


def digest_table(digest: Any, name: str, table: Table) -> None:
    """Hash a table: the names of its columns, then their values, each in its one encoding, in the order of the names.

    Args:
        digest: a hash object of hashlib.
        name: of the table.
        table: columns of one length; texts are hashed by their characters, whatever their width.
    """
    names = sorted(table)
    numbers = [column for column in names if table[column].dtype.kind == "f"]
    others = {column: table[column].tolist() for column in names if column not in numbers}
    digest.update(json.dumps([name, names, others]).encode())
    if numbers:
        digest.update(canonical(np.array([table[column] for column in numbers], np.float64)).data)


def digest_array(digest: Any, name: str, data: Array) -> None:
    """Hash an array of numbers: its name, shape, type and canonical bytes."""
    digest.update(json.dumps([name, data.shape, data.dtype.str]).encode())
    digest.update(np.ascontiguousarray(canonical(data)).tobytes())
