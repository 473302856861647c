"""h5py with distrust: files are opened after their checksum has proved them whole, values are read by their type."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5i, h5l, h5o, h5t

from nllgen.errors import MADE_ANEW, CorruptFileError, MachineError
from nllgen.storage.checksum import MAX_BYTES, read_verified, verify_checksum
from nllgen.storage.hdf5_data import Array, UntrustedFile, budget_of, check_local, read_data
from nllgen.storage.head import require_schema

MAX_ITEMS = 2**33  # 32 GiB of float32: more than any study has
MAX_TEXT_BYTES = 2**28
COMPRESSED: Final[Mapping[str, Any]] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
_SMALL_ITEMS = 64  # compressing fewer makes nothing smaller
_IMAGE_BYTES = 2**26  # smaller files are parsed from the very bytes that were verified


@contextlib.contextmanager
def open_read(path: Path, max_bytes: int = MAX_BYTES) -> Iterator[UntrustedFile]:
    """Open a file that proves whole, without locks, which its checksum makes unnecessary.

    What is read from it takes no more memory than :func:`hdf5_data.budget_of` allows for its size.

    Raises:
        CorruptFileError: its content is not what nllgen writes; errors of the block are taken for that, too.
        MachineError: it cannot be read now, or there is not enough memory for it.
    """
    verify_checksum(path, max_bytes)
    size = path.stat().st_size
    try:
        source = _image(read_verified(path)) if size <= _IMAGE_BYTES else path
        with UntrustedFile(source, "r", locking=False) as file:
            file.budget = budget_of(size)
            yield file
    except MemoryError as error:
        raise MachineError(f"{path}: not enough memory to read it", "read it on a machine with more") from error
    except OSError as error:
        if "errno" in str(error) or error.errno:  # of the disk, not of HDF5
            raise MachineError(f"cannot read {path}: {error}", "run the same command again") from error
        raise CorruptFileError(f"{path}: not a readable HDF5 file of nllgen ({error})", MADE_ANEW) from error
    except (KeyError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise CorruptFileError(f"{path}: not a readable HDF5 file of nllgen ({error})", MADE_ANEW) from error


def _image(content: bytes) -> h5f.FileID:
    return h5f.open_file_image(content)


def check_schema(file: h5py.File, path: Path) -> None:
    """Refuse a file of another schema.

    Raises:
        SchemaError: it names both schemas.
    """
    require_schema(schema_of(file), path)


def schema_of(file: h5py.File) -> object:
    """Return the schema that a file names, of whatever type; None where it names none."""
    return _attr(file, "schema")


def put_array(group: h5py.Group, name: str, data: Array, unit: str) -> None:
    """Write an array of numbers with its unit, compressed where that helps."""
    compressed = COMPRESSED if data.size > _SMALL_ITEMS else {}
    group.create_dataset(name, data=data, **compressed).attrs["unit"] = unit


def get_array(
    file: UntrustedFile, name: str, *, ndim: int, kind: str, max_items: int = MAX_ITEMS, rows: slice | None = None
) -> Array:
    """Read an array of numbers after a look at its shape and dtype.

    Args:
        file: that holds it.
        name: its name.
        ndim: number of axes that it must have.
        kind: NumPy kind characters that it may have.
        max_items: refuse to allocate more than this.
        rows: only these rows.

    Raises:
        ValueError: something else lies there; callers read inside :func:`open_read`, which types it.
    """
    item = find_dataset(file, name)
    shape, dtype = item.shape, item.dtype
    if shape is None or len(shape) != ndim or dtype.kind not in kind:
        raise ValueError(f"{name} has {shape} items of {dtype}, expected {ndim} axes of kind {kind}")
    size = math.prod(shape)
    if size > max_items:
        raise ValueError(f"{name} has {size} items, more than {max_items}")
    return read_data(file, item, name, rows)


def find_dataset(group: h5py.Group, name: str) -> h5d.DatasetID:
    """Return the dataset at ``name``, whose data lie in this file.

    Raises:
        ValueError: something else lies there.
        KeyError: nothing is there.
    """
    item = find(group, name)
    if not isinstance(item, h5d.DatasetID):
        raise ValueError(f"{name} is not a dataset")
    check_local(item, name)
    return item


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


def get_json(file: UntrustedFile, name: str) -> dict[str, Any]:
    """Read an attribute with a JSON object.

    Raises:
        ValueError: it is missing or something else.
    """
    text = text_attr(file, name)
    file.charge_json(name, text)
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"attribute {name} is not a JSON object")
    return value


def text_attr(file: UntrustedFile, name: str) -> str:
    """Read a text attribute.

    Raises:
        ValueError: it is missing or not text.
    """
    value = _attr(file, name)
    if isinstance(value, bytes):
        value = value.decode()
    if not isinstance(value, str):
        raise ValueError(f"attribute {name} is missing or not text")
    if len(value) > MAX_TEXT_BYTES:
        raise ValueError(f"attribute {name} has {len(value)} characters")
    file.charge(name, len(value))
    return value


def number_attr(group: h5py.Group, name: str) -> float:
    """Read a numeric attribute.

    Raises:
        ValueError: it is missing or not a number.
    """
    value = _attr(group, name)
    if not isinstance(value, int | float | np.integer | np.floating):
        raise ValueError(f"attribute {name} is missing or not a number")
    return float(value)


def _attr(group: h5py.Group, name: str) -> object:
    """Return an attribute that is one number or text; None for anything else, which could hold one text many times."""
    if not h5a.exists(group.id, name.encode()):
        return None
    attribute = h5a.open(group.id, name.encode())
    is_plain = isinstance(attribute.get_type(), h5t.TypeIntegerID | h5t.TypeFloatID | h5t.TypeStringID)
    return group.attrs.get(name) if is_plain and attribute.shape == () else None
