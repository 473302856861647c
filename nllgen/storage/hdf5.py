"""h5py with distrust: files are opened after their checksum has proved them whole, values are read by their type."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5d, h5f, h5g, h5i, h5l, h5o, h5s, h5t

from nllgen.errors import CorruptFileError, MachineError
from nllgen.storage.checksum import read_verified, verify_checksum
from nllgen.storage.head import require_schema

Array = npt.NDArray[Any]
MAX_ITEMS = 2**33  # 32 GiB of float32: more than any study has
MAX_TEXT_BYTES = 2**28
_MOST_COMPRESSED = 1032  # gzip makes nothing smaller than this part of it
_SMALL_ITEMS = 64  # compressing fewer makes nothing smaller
_IMAGE_BYTES = 2**26  # smaller files are parsed from the very bytes that were verified
_AGAIN = "remove it and run the command that made it again"


@contextlib.contextmanager
def open_read(path: Path) -> Iterator[h5py.File]:
    """Open a file that proves whole, without locks, which its checksum makes unnecessary.

    Raises:
        CorruptFileError: its content is not what nllgen writes; errors of the block are taken for that, too.
        MachineError: it cannot be read now, or there is not enough memory for it.
    """
    verify_checksum(path)
    is_small = path.stat().st_size <= _IMAGE_BYTES
    try:
        with _open_image(read_verified(path)) if is_small else h5py.File(path, "r", locking=False) as file:
            yield file
    except MemoryError as error:
        raise MachineError(f"{path}: not enough memory to read it", "read it on a machine with more") from error
    except OSError as error:
        if "errno" in str(error) or error.errno:  # of the disk, not of HDF5
            raise MachineError(f"cannot read {path}: {error}", "run the same command again") from error
        raise CorruptFileError(f"{path}: not a readable HDF5 file of nllgen ({error})", _AGAIN) from error
    except (KeyError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise CorruptFileError(f"{path}: not a readable HDF5 file of nllgen ({error})", _AGAIN) from error


def _open_image(content: bytes) -> h5py.File:
    return h5py.File(h5f.open_file_image(content))


def check_schema(file: h5py.File, path: Path) -> None:
    """Refuse a file of another schema.

    Raises:
        SchemaError: it names both schemas.
    """
    require_schema(file.attrs.get("schema"), path)


def put_array(group: h5py.Group, name: str, data: Array, unit: str) -> None:
    """Write an array of numbers with its unit, compressed where that helps."""
    compressed: dict[str, Any] = {}
    if data.size > _SMALL_ITEMS:
        compressed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    group.create_dataset(name, data=data, **compressed).attrs["unit"] = unit


def get_array(
    group: h5py.Group, name: str, *, ndim: int, kind: str, max_items: int = MAX_ITEMS, rows: slice | None = None
) -> Array:
    """Read an array of numbers after a look at its shape and dtype.

    Args:
        group: that holds it.
        name: its name.
        ndim: number of axes that it must have.
        kind: NumPy kind characters that it may have.
        max_items: refuse to allocate more than this.
        rows: only these rows.

    Raises:
        ValueError: something else lies there; callers read inside :func:`open_read`, which types it.
    """
    item = find(group, name)
    if not isinstance(item, h5d.DatasetID):
        raise ValueError(f"{name} is not a dataset")
    shape, dtype = item.shape, item.dtype
    if shape is None or len(shape) != ndim or dtype.kind not in kind:
        raise ValueError(f"{name} has {shape} items of {dtype}, expected {ndim} axes of kind {kind}")
    size = math.prod(shape)
    if size > max_items:
        raise ValueError(f"{name} has {size} items, more than {max_items}")
    check_size(item, name, size * dtype.itemsize)
    if rows is not None:
        return np.asarray(h5py.Dataset(item)[rows])
    data = np.empty(shape, dtype)
    if data.size:
        item.read(h5s.ALL, h5s.ALL, data, _memory_type(dtype))
    return data


def check_size(item: h5d.DatasetID, name: str, num_bytes: int) -> None:
    """Refuse a dataset whose data lie in another file, or that declares more bytes than it can hold.

    Raises:
        ValueError: it is one.
    """
    if item.get_offset() is None:  # else its data lie in this file, in one piece
        creation = item.get_create_plist()
        if creation.get_layout() == h5d.VIRTUAL or creation.get_external_count():
            raise ValueError(f"{name} takes its data from another file")
    if num_bytes > _MOST_COMPRESSED * item.get_storage_size():
        raise ValueError(f"{name} declares {num_bytes} bytes, more than it can hold")


@cache
def _memory_type(dtype: np.dtype[Any]) -> h5t.TypeID:
    return h5t.py_create(dtype)


def find(group: h5py.Group, name: str) -> h5g.GroupID | h5d.DatasetID:
    """Return the object at ``name`` in this file itself; a link on the way is refused.

    Raises:
        ValueError: there is a link, or a group is none.
        KeyError: nothing is there.
    """
    item = group.id
    for part in name.encode().split(b"/"):
        if not isinstance(item, h5g.GroupID | h5f.FileID):
            raise ValueError(f"{h5i.get_name(item).decode()} is not a group")
        if item.links.get_info(part).type != h5l.TYPE_HARD:
            raise ValueError(f"{name} is a link to elsewhere")
        item = h5o.open(item, part)
    return item


def has(group: h5py.Group, name: str) -> bool:
    """Return whether something lies at ``name``.

    Raises:
        ValueError: a link to elsewhere does.
    """
    try:
        find(group, name)
    except (KeyError, RuntimeError):  # h5py says "no such link" in different ways
        return False
    return True


def put_json(group: h5py.Group, name: str, value: Any) -> None:
    """Write plain values as an attribute with a JSON text."""
    group.attrs[name] = json.dumps(value)


def get_json(group: h5py.Group, name: str) -> dict[str, Any]:
    """Read an attribute with a JSON object.

    Raises:
        ValueError: it is missing or something else.
    """
    value = json.loads(text_attr(group, name))
    if not isinstance(value, dict):
        raise ValueError(f"attribute {name} is not a JSON object")
    return value


def text_attr(group: h5py.Group, name: str) -> str:
    """Read a text attribute.

    Raises:
        ValueError: it is missing or not text.
    """
    value = group.attrs.get(name)
    if isinstance(value, bytes):
        value = value.decode()
    if not isinstance(value, str):
        raise ValueError(f"attribute {name} is missing or not text")
    if len(value) > MAX_TEXT_BYTES:
        raise ValueError(f"attribute {name} has {len(value)} characters")
    return value


def number_attr(group: h5py.Group, name: str) -> float:
    """Read a numeric attribute.

    Raises:
        ValueError: it is missing or not a number.
    """
    value = group.attrs.get(name)
    if not isinstance(value, int | float | np.integer | np.floating):
        raise ValueError(f"attribute {name} is missing or not a number")
    return float(value)
