"""Data of HDF5 files that may be made to take memory or time: read by bounded steps, within one budget a file.

HDF5 inflates a chunk to whatever its stream holds, a thousand times its size, and opens other files for virtual data.
So chunks are taken here as they are stored, and inflated to no more than they declare.
"""

from __future__ import annotations

import itertools
import math
import zlib
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5d, h5p, h5s, h5t, h5z

Array = npt.NDArray[Any]
FREE_BYTES = 2**28  # what any file may take
_BYTES_PER_BYTE = 32  # and for each byte of the file; nllgen's own files have 2 to 15
_MAX_CHUNKS = 2**18
_STORED_BYTES = 4096  # zlib's overhead on a chunk that does not shrink, beyond a thousandth
_OBJECT_BYTES = 128  # a Python object in a list or dictionary


def budget_of(size: int, free: int = FREE_BYTES) -> int:
    """Return how many bytes may be taken to read a file of ``size`` bytes."""
    return free + _BYTES_PER_BYTE * size


class UntrustedFile(h5py.File):  # type: ignore[misc]
    """An open HDF5 file, and the bytes that may still be taken to read it."""

    budget = FREE_BYTES

    def charge(self, name: str, num_bytes: int) -> None:
        """Take bytes from the budget.

        Raises:
            ValueError: there are not so many left.
        """
        self.budget -= num_bytes
        if self.budget < 0:
            raise ValueError(f"{name} and what was read before it expand to many times the size of the file")

    def charge_json(self, name: str, text: bytes | str) -> None:
        """Take the bytes that the values of a JSON text will take, from a bound of their number.

        Raises:
            ValueError: there are not so many left.
        """
        signs = (b",", b"[", b"{") if isinstance(text, bytes) else (",", "[", "{")
        self.charge(name, 4 * len(text) + _OBJECT_BYTES * sum(map(text.count, signs)))  # type: ignore[arg-type]


def read_data(file: UntrustedFile, item: h5d.DatasetID, name: str, rows: slice | None = None) -> Array:
    """Read a dataset of numbers, fixed texts, or compounds of them, (n, …) or the given rows of it.

    Raises:
        ValueError: it lies in another file, is packed in another way than nllgen packs, or exceeds the budget.
    """
    check_local(item, name)
    (dtype, memory_type), shape = types_of(item.get_type().encode()), item.shape
    if not shape:
        raise ValueError(f"{name} is no array")
    begin, end, _ = (rows or slice(None)).indices(shape[0])
    out = (max(0, end - begin), *shape[1:])
    num_bytes = math.prod(out) * dtype.itemsize
    file.charge(name, num_bytes)
    if not num_bytes:
        return np.empty(out, dtype)
    creation = item.get_create_plist() if item.get_offset() is None else None
    if creation is not None and creation.get_layout() == h5d.CHUNKED:
        return _read_chunks(file, item, name, creation, dtype, begin, out)
    if math.prod(shape) * dtype.itemsize > item.get_storage_size():
        raise ValueError(f"{name} declares more bytes than it holds")
    if rows is not None:
        return np.asarray(h5py.Dataset(item)[begin:end])
    data = np.empty(out, dtype)
    item.read(h5s.ALL, h5s.ALL, data, memory_type)
    return data


def check_local(item: h5d.DatasetID, name: str) -> None:
    """Refuse a dataset whose data lie in another file, before HDF5 opens that to learn its shape.

    Raises:
        ValueError: it is one.
    """
    if item.get_offset() is None:  # else its data lie in this file, in one piece
        creation = item.get_create_plist()
        if creation.get_layout() == h5d.VIRTUAL or creation.get_external_count():
            raise ValueError(f"{name} takes its data from another file")


@lru_cache(maxsize=256)
def types_of(encoded: bytes) -> tuple[np.dtype[Any], h5t.TypeID]:
    """Return NumPy's and HDF5's name of a type; h5py takes two milliseconds for one of a hundred fields.

    Raises:
        ValueError: its values are not in the file itself, or are no numbers of a processor.
    """
    file_type = h5t.decode(encoded)
    dtype = file_type.dtype
    if dtype.hasobject or not h5t.py_create(dtype).equal(file_type):
        raise ValueError(f"values of the type {dtype} are not read")
    return dtype, h5t.py_create(dtype)


def _read_chunks(
    file: UntrustedFile,
    item: h5d.DatasetID,
    name: str,
    creation: h5p.PropDCID,
    dtype: np.dtype[Any],
    begin: int,
    shape: tuple[int, ...],
) -> Array:
    chunk = creation.get_chunk()
    size = math.prod(chunk) * dtype.itemsize
    file.charge(name, 2 * size)
    filters = _filters(creation, name)
    ends = (begin + shape[0], *shape[1:])
    first = begin // chunk[0] * chunk[0]
    steps = [range(first if axis == 0 else 0, end, chunk[axis]) for axis, end in enumerate(ends)]
    if math.prod(map(len, steps)) > _MAX_CHUNKS:
        raise ValueError(f"{name} has more than {_MAX_CHUNKS:,} chunks")
    raw = np.dtype((np.void, dtype.itemsize))  # copied as bytes, whatever the fields
    data = np.empty(shape, raw)
    buffer = bytearray(size + size // 1000 + _STORED_BYTES)
    for offsets in itertools.product(*steps):
        mask, stored = item.read_direct_chunk(offsets, out=buffer)
        block = np.frombuffer(_unpacked(stored, mask, filters, size, dtype.itemsize, name), raw).reshape(chunk)
        low = (max(begin, offsets[0]), *offsets[1:])
        high = [min(offset + length, end) for offset, length, end in zip(offsets, chunk, ends, strict=True)]
        source = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, offsets, strict=True))
        data[(slice(low[0] - begin, high[0] - begin), *map(slice, low[1:], high[1:]))] = block[source]
    return data.view(dtype)


def _filters(creation: h5p.PropDCID, name: str) -> list[int]:
    filters = [creation.get_filter(number)[0] for number in range(creation.get_nfilters())]
    if filters not in ([], [h5z.FILTER_SHUFFLE], [h5z.FILTER_DEFLATE], [h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE]):
        raise ValueError(f"{name} is packed in another way than by gzip, with or without shuffling, once")
    return filters


def _unpacked(stored: Any, mask: int, filters: list[int], size: int, itemsize: int, name: str) -> Any:
    """Undo the filters of a chunk, the last one first; ``mask`` has a bit for each that was not applied."""
    for number, kind in reversed(list(enumerate(filters))):
        if mask >> number & 1:
            continue
        stored = _inflated(stored, size) if kind == h5z.FILTER_DEFLATE else _unshuffled(stored, itemsize)
    if len(stored) != size:
        raise ValueError(f"a chunk of {name} does not hold the {size} bytes that it declares")
    return stored


def _inflated(stored: Any, size: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(stored, size)
        more = unpacker.decompress(unpacker.unconsumed_tail, 1)
    except zlib.error as error:
        raise ValueError(f"a chunk cannot be unpacked ({error})") from error
    return data + more


def _unshuffled(stored: Any, itemsize: int) -> Any:
    data = np.frombuffer(stored, np.uint8)
    if len(data) % itemsize:
        raise ValueError("a chunk is cut off")
    return np.ascontiguousarray(data.reshape(itemsize, -1).T).reshape(-1)
