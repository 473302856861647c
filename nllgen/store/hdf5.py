"""h5py behind two functions: what is written is compressed and carries its unit, what is read is checked before use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from nllgen.errors import CorruptFileError, MachineError, SchemaError
from nllgen.store.layout import INTEGER_COLUMNS, SCHEMA, TEXT_COLUMNS
from nllgen.store.seal import check_seal

Array = npt.NDArray[Any]
Table = dict[str, Array]
_MAX_ITEMS = 2**33  # 32 GiB of float32: more than any study has
_MOST_COMPRESSED = 1032  # gzip makes nothing smaller than this part of it
_TEXT = h5py.string_dtype("utf-8")


@contextlib.contextmanager
def open_read(path: Path) -> Iterator[h5py.File]:
    """Open for reading; whatever is wrong with the file becomes a :class:`CorruptFileError` that names it.

    Raises:
        MachineError: it cannot be read, or there is not enough memory for it.
    """
    check_seal(path)
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
    data, dtype = (data.astype(object), _TEXT) if text else (data, data.dtype)  # h5py has no fixed-width Unicode
    options: dict[str, Any] = {}
    if data.size > 64 and not text:  # filters see only the references to texts
        options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    group.create_dataset(name, data=data, dtype=dtype, **options).attrs["unit"] = unit


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
    item = find(group, name)
    if not isinstance(item, h5py.Dataset):
        raise ValueError(f"{name} is not a dataset")
    if item.is_virtual or item.external:
        raise ValueError(f"{name} takes its data from another file")
    if item.ndim != ndim or item.dtype.kind not in kind:
        raise ValueError(f"{name} has {item.ndim} axes of {item.dtype}, expected {ndim} axes of kind {kind}")
    if item.size is None or item.size > max_items:
        raise ValueError(f"{name} has {item.size} items, more than {max_items}")
    if item.nbytes > _MOST_COMPRESSED * item.id.get_storage_size():
        raise ValueError(f"{name} claims {item.size} items, more than it can hold")
    if kind == "O":
        return np.asarray(item.asstr()[()], dtype=object).astype(str)
    return np.asarray(item[()] if rows is None else item[rows])


def find(group: h5py.Group, name: str) -> Any:
    """What lies at ``name`` in this file itself: a link on the way is refused.

    Raises:
        ValueError: there is a link, or a group is none.
        KeyError: nothing is there.
    """
    for part in name.split("/"):
        if not isinstance(group, h5py.Group):
            raise ValueError(f"{group.name} is not a group")
        if isinstance(group.get(part, getlink=True), h5py.ExternalLink | h5py.SoftLink):
            raise ValueError(f"{name} is a link to elsewhere")
        group = group[part]
    return group


def put_table(parent: h5py.Group, name: str, columns: Mapping[str, Array], units: Mapping[str, str]) -> None:
    """Write columns of one length as a group."""
    group = parent.create_group(name)
    for column, data in columns.items():
        put(group, column, data, units[column])


def get_table(parent: h5py.Group, name: str, known: Mapping[str, str]) -> Table:
    """Read the known columns of a group, all of one length; columns that this version does not know are left."""
    group = find(parent, name)
    if not isinstance(group, h5py.Group):
        raise ValueError(f"{name} is not a group")
    table: Table = {}
    for column in known:
        if column in group:
            kind = "O" if column in TEXT_COLUMNS else "iu" if column in INTEGER_COLUMNS else "f"
            table[column] = get(group, column, ndim=1, kind=kind, max_items=2**28)
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
