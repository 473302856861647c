"""h5py behind two functions: what is written is compressed and carries its unit, what is read is checked before use."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5a, h5d, h5g, h5i, h5l, h5o, h5p, h5s, h5t

from nllgen.errors import CorruptFileError, MachineError, SchemaError
from nllgen.storage.checksum import verify_checksum
from nllgen.storage.schema import INTEGER_COLUMNS, SCHEMA, TEXT_COLUMNS

Array = npt.NDArray[Any]
Table = dict[str, Array]
_MAX_ITEMS = 2**33  # 32 GiB of float32: more than any study has
_MOST_COMPRESSED = 1032  # gzip makes nothing smaller than this part of it
_SMALL = 64  # items: compressing fewer makes nothing smaller
_TEXT = h5py.string_dtype("utf-8")
NO_VALUE = "none, every value is NaN"  # the unit of columns without a value, which share one dataset


@contextlib.contextmanager
def open_read(path: Path) -> Iterator[h5py.File]:
    """Open for reading; whatever is wrong with the file becomes a :class:`CorruptFileError` that names it.

    Raises:
        MachineError: it cannot be read, or there is not enough memory for it.
    """
    verify_checksum(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except MemoryError as error:
        raise MachineError(f"{path}: not enough memory to read it", "read it on a machine with more") from error
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise CorruptFileError(
            f"{path}: not a readable HDF5 file of nllgen ({error})", "remove it and run the command that made it again"
        ) from error


def check_schema(file: h5py.File, path: Path) -> None:
    """Refuse a file of another schema.

    Raises:
        SchemaError: naming both schemas.
    """
    require_schema(file.attrs.get("schema"), path)


def require_schema(found: object, path: Path) -> None:
    """Refuse a schema that is not this version's, or none.

    Raises:
        SchemaError: naming both schemas.
    """
    if not isinstance(found, int | np.integer):
        raise CorruptFileError(f"{path}: has no schema attribute", "it was not written by nllgen")
    if int(found) != SCHEMA:
        newer = "newer" if int(found) > SCHEMA else "older"
        raise SchemaError(
            f"{path}: written with schema {int(found)}, this version reads schema {SCHEMA}",
            f"use a {newer} nllgen for this file",
        )


def put(group: h5py.Group, name: str, data: Array, unit: str) -> None:
    """Write one dataset, compressed where that helps, with its unit."""
    text = data.dtype.kind in "UO"
    data = data.astype(_TEXT) if text else data  # h5py has no fixed-width Unicode
    if data.size > _SMALL and not text:  # filters see only the references to texts
        compressed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        group.create_dataset(name, data=data, **compressed).attrs["unit"] = unit
        return
    # create_dataset without its conveniences, in a third of its time: a result has more than a hundred such columns
    kind = h5t.py_create(data.dtype, logical=True)
    item = h5d.create(group.id, name.encode(), kind, h5s.create_simple(data.shape), *_property_lists())
    item.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(data))
    unit_kind = h5t.py_create(_TEXT, logical=True)
    h5a.create(item, b"unit", unit_kind, h5s.create(h5s.SCALAR)).write(np.array(unit, dtype=_TEXT))


@cache
def _property_lists() -> tuple[h5p.PropDCID, h5p.PropLCID]:
    """As h5py has them: no times in the file, and groups on the way to a dataset are made."""
    creation, links = h5p.create(h5p.DATASET_CREATE), h5p.create(h5p.LINK_CREATE)
    creation.set_obj_track_times(False)
    links.set_create_intermediate_group(True)
    return creation, links


def get(
    group: h5py.Group, name: str, *, ndim: int, kind: str, max_items: int = _MAX_ITEMS, rows: slice | None = None
) -> Array:
    """Read one dataset after a look at its shape and dtype.

    Args:
        group: where it lies.
        name: its name.
        ndim: number of axes that it must have.
        kind: numpy kind characters it may have; ``O`` is text.
        max_items: refuse to allocate more than this.
        rows: only these rows.

    Raises:
        ValueError: something else lies there; callers read inside :func:`open_read`, which types it.
    """
    return _read(find(group, name), name, ndim, kind, max_items, rows)


def _read(item: Any, name: str, ndim: int, kind: str, max_items: int, rows: slice | None = None) -> Array:
    if not isinstance(item, h5d.DatasetID):
        raise ValueError(f"{name} is not a dataset")
    if item.get_offset() is None:  # else its data lie in this file, in one piece
        made = item.get_create_plist()
        if made.get_layout() == h5d.VIRTUAL or made.get_external_count():
            raise ValueError(f"{name} takes its data from another file")
    shape, dtype = item.shape, item.dtype
    if shape is None or len(shape) != ndim or dtype.kind not in kind:
        raise ValueError(f"{name} has {shape} items of {dtype}, expected {ndim} axes of kind {kind}")
    size = math.prod(shape)
    if size > max_items:
        raise ValueError(f"{name} has {size} items, more than {max_items}")
    if size * dtype.itemsize > _MOST_COMPRESSED * item.get_storage_size():
        raise ValueError(f"{name} leases {size} items, more than it can hold")
    if kind == "O":
        return np.asarray(h5py.Dataset(item).asstr()[()], dtype=object).astype(str)
    if rows is not None:
        return np.asarray(h5py.Dataset(item)[rows])
    data = np.empty(shape, dtype)
    if data.size:
        item.read(h5s.ALL, h5s.ALL, data, _memory_type(dtype))
    return data


@cache
def _memory_type(dtype: np.dtype[Any]) -> h5t.TypeID:
    return h5t.py_create(dtype)


def find(group: h5py.Group, name: str) -> h5g.GroupID | h5d.DatasetID:
    """What lies at ``name`` in this file itself: a link on the way is refused.

    h5py's low level, since a result has more than a hundred columns, and ``group[name]`` takes as long as ten reads.

    Raises:
        ValueError: there is a link, or a group is none.
        KeyError: nothing is there.
    """
    found = group.id
    for part in name.encode().split(b"/"):
        if not isinstance(found, h5g.GroupID):
            raise ValueError(f"{h5i.get_name(found).decode()} is not a group")
        if found.links.get_info(part).type != h5l.TYPE_HARD:
            raise ValueError(f"{name} is a link to elsewhere")
        found = h5o.open(found, part)
    return found


def put_table(parent: h5py.Group, name: str, columns: Mapping[str, Array], units: Mapping[str, str]) -> None:
    """Write columns of one length as a group; those without a single value are one dataset under many names.

    Most runs measure a third of what the layout has columns for: the file is half as large, and read in half the time.
    """
    group = parent.create_group(name)
    empty = ""
    for column, data in columns.items():
        if not _has_no_value(data):
            put(group, column, data, units[column])
        elif empty:
            group.id.links.create_hard(column.encode(), group.id, empty.encode())
        else:
            empty = column
            put(group, column, data, NO_VALUE)


def _has_no_value(data: Array) -> bool:
    return data.dtype == np.float64 and data.ndim == 1 and len(data) > 0 and bool(np.isnan(data).all())


def get_table(parent: h5py.Group, name: str, known: Mapping[str, str]) -> Table:
    """Read the known columns of a group, all of one length; columns that this version does not know are left.

    Names of one dataset share their array, which cannot be written to.
    """
    found = find(parent, name)
    if not isinstance(found, h5g.GroupID):
        raise ValueError(f"{name} is not a group")
    links: dict[bytes, tuple[int, Any]] = {}
    found.links.iterate(lambda link, info: links.update({link: (info.type, info.u)}), info=True)
    read: dict[tuple[Any, str], Array] = {}
    table: Table = {}
    for column in known:
        link = column.encode()
        if link not in links:
            continue
        if links[link][0] != h5l.TYPE_HARD:
            raise ValueError(f"{name}/{column} is a link to elsewhere")
        where = (links[link][1], "O" if column in TEXT_COLUMNS else "iu" if column in INTEGER_COLUMNS else "f")
        if where not in read:
            read[where] = _read(h5o.open(found, link), f"{name}/{column}", 1, where[1], 2**28)
            read[where].setflags(write=False)
        table[column] = read[where]
    if len({len(data) for data in table.values()}) > 1:
        raise ValueError(f"the columns of {name} differ in length")
    return table


def text_attr(file: h5py.File, name: str) -> str:
    """A text attribute, decoded.

    Raises:
        ValueError: it is missing or not text.
    """
    value = file.attrs.get(name)
    if isinstance(value, bytes):
        value = value.decode()
    if not isinstance(value, str):
        raise ValueError(f"attribute {name} is missing or not text")
    return value


def number_attr(file: h5py.File, name: str) -> float:
    """A numeric attribute.

    Raises:
        ValueError: it is missing or not a number.
    """
    value = file.attrs.get(name)
    if not isinstance(value, int | float | np.integer | np.floating):
        raise ValueError(f"attribute {name} is missing or not a number")
    return float(value)
