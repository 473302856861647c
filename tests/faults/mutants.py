"""Mutations of files: damaged bytes, and HDF5 files and tensors that were rearranged on purpose."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import torch
from hypothesis import strategies as st

from nllgen.data.truth import to_bytes
from nllgen.storage.checksum import _DIGEST, SIZE, checksum_header

Edit = tuple[Any, ...]


@dataclass(frozen=True)
class Target:
    """A kind of file under test.

    Attributes:
        examples: strategy of edits.
        read: applies the edits and reads the file; raises the errors of the reader.
    """

    examples: st.SearchStrategy[Any]
    read: Callable[[Any], object]


PLACES = st.floats(0, 1, exclude_max=True)
_WORDS = st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\1" + bytes(7), b"OHDR", b"TREE"])
BYTE_EDITS: st.SearchStrategy[list[Edit]] = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), PLACES, st.integers(1, 255)),
        st.tuples(st.just("write"), PLACES, _WORDS | st.binary(min_size=1, max_size=16)),
        st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=64)),
        st.tuples(st.just("remove"), PLACES, st.integers(1, 4096)),
        st.tuples(st.just("copy"), PLACES, PLACES, st.integers(1, 512)),
        st.tuples(st.just("cut"), PLACES),
    ),
    min_size=1,
    max_size=8,
)


def with_bytes_edited(content: bytes, edits: list[Edit]) -> bytes:
    """Return the content after all edits."""
    data = bytearray(content)
    for what, place, *more in edits:
        at = int(place * len(data))
        if what == "flip" and data:
            data[at] ^= more[0]
        elif what == "write":
            data[at : at + len(more[0])] = more[0]
        elif what == "insert":
            data[at:at] = more[0]
        elif what == "remove":
            del data[at : at + more[0]]
        elif what == "copy":
            start = int(more[0] * len(data))
            data[at : at + more[1]] = data[start : start + more[1]]
        elif what == "cut":
            del data[at:]
    return bytes(data)


def with_new_checksum(content: bytes) -> bytes:
    """Return the content with a valid checksum and its old header."""
    head = content[_DIGEST.stop : SIZE].strip(b"\n\0").decode(errors="replace")
    return bytes(checksum_header(content[SIZE:], head)) + content[SIZE:]


_DTYPES = ["f4", "f8", "f2", "i1", "i8", "u8", ">f8", "c16", "S5", "bool", "O", "ref", "V7"]
_SHAPES = [
    (),
    (0,),
    (1,),
    (2,),
    (3,),
    (101,),
    (2**20,),
    (2**33,),
    (2**60,),
    (2, 1),
    (2, 1, 7, 7),
    (0, 1, 7, 7),
    (5, 5, 5, 5),
]
_VALUES = [
    *(0, -1, 2, 2**63 - 1, -(2**63), 1e308, float("nan"), float("inf"), "", "{", "[]", "{}", "null", "x" * 100_000),
    *("../../etc/passwd", "\0", "<script>", b"\xff\xfe", [1, 2], ["a"], [[1.0]], "[" * 10_000, '{"a":' * 10_000),
]
_ELSEWHERE = st.sampled_from(["/", "/eval", "/nothing", ".", "/samples/x"]) | st.text(max_size=5)
_FILES = st.sampled_from(["/etc/passwd", "whole.h5", "../x"])
HDF5_EDITS: st.SearchStrategy[list[Edit]] = st.lists(
    st.one_of(
        st.tuples(st.just("delete"), PLACES),
        st.tuples(st.just("array"), PLACES, st.sampled_from(_DTYPES), st.sampled_from(_SHAPES), st.booleans()),
        st.tuples(st.just("fill"), PLACES, st.sampled_from([0, -1, 7, 2**62, 1e308, float("nan"), float("inf"), "a"])),
        st.tuples(st.just("group"), PLACES),
        st.tuples(st.just("type"), PLACES),
        st.tuples(st.just("soft"), PLACES, _ELSEWHERE),
        st.tuples(st.just("external"), PLACES, _FILES, st.sampled_from(["/", "/eval/step"])),
        st.tuples(st.just("hard"), PLACES, PLACES),
        st.tuples(st.just("virtual"), PLACES, st.sampled_from(_SHAPES)),
        st.tuples(st.just("attribute"), PLACES, st.sampled_from(_VALUES) | st.text(max_size=20)),
        st.tuples(st.just("no attribute"), PLACES),
        st.tuples(st.just("attribute here"), PLACES, st.sampled_from(_VALUES)),
    ),
    min_size=1,
    max_size=4,
)


def with_hdf5_edited(content: bytes, edits: list[Edit]) -> bytes:
    """Return the file after all edits that HDF5 can make, with a valid checksum."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        for edit in edits:
            try:
                _edit(file, *edit)
            except (LookupError, ValueError, TypeError, RuntimeError, OSError, OverflowError, MemoryError):
                continue
    return with_new_checksum(buffer.getvalue())


def _edit(file: h5py.File, what: str, place: float, *more: Any) -> None:
    if what in ("attribute", "no attribute"):
        names = sorted(file.attrs)
        name = names[int(place * len(names))]
        del file.attrs[name]
        if what == "attribute":
            file.attrs[name] = more[0]
        return
    items: list[str] = []
    file.visit(items.append)
    name = sorted(items)[int(place * len(items))]
    if what == "attribute here":
        file[name].attrs["unit"] = more[0]
    elif what == "fill":
        file[name][...] = more[0]
    elif what == "hard":
        item = file[sorted(items)[int(more[0] * len(items))]]
        del file[name]
        file[name] = item
    else:
        del file[name]
        _put(file, name, what, *more)


def _put(file: h5py.File, name: str, what: str, *more: Any) -> None:
    if what == "array":
        dtype, shape, compressed = more
        types = {"O": h5py.string_dtype(), "ref": h5py.ref_dtype}
        large = np.prod([float(n) for n in shape]) > 2**21
        options: dict[str, Any] = {"chunks": tuple(min(n, 1024) or 1 for n in shape)} if compressed or large else {}
        options = options | ({"compression": "gzip"} if compressed else {}) if shape else {}
        file.create_dataset(name, shape=shape, dtype=types.get(dtype, dtype), **options)
    elif what == "group":
        file.create_group(name)
    elif what == "type":
        file[name] = np.dtype("f8")
    elif what == "soft":
        file[name] = h5py.SoftLink(more[0])
    elif what == "external":
        file[name] = h5py.ExternalLink(*more)
    elif what == "virtual":
        layout = h5py.VirtualLayout(more[0], "f8")
        layout[...] = h5py.VirtualSource("whole.h5", "/eval/kl_nats", more[0])
        file.create_virtual_dataset(name, layout)


_SWAPS: list[Any] = [
    *(None, -1, 2**70, 1.5, float("nan"), "x", b"x", [], {}, [1], {"a": 1}, True),
    *(torch.zeros(0), torch.zeros(3), torch.full((2, 2), float("nan")), torch.zeros(1, dtype=torch.int64)),
]
TENSOR_EDITS: st.SearchStrategy[list[Edit]] = st.lists(
    st.one_of(
        st.tuples(st.just("swap"), PLACES, st.integers(0, len(_SWAPS) - 1)),
        st.tuples(st.just("delete"), PLACES),
        st.tuples(st.just("add"), PLACES, st.text(max_size=5)),
    ),
    min_size=1,
    max_size=3,
)


def with_tensors_edited(content: bytes, edits: list[Edit]) -> bytes:
    """Return a .pt file after swapping, deleting or adding named values at any depth."""
    value = torch.load(io.BytesIO(content), weights_only=True)
    del value["content_sha256"]
    for what, place, *more in edits:
        places = list(_places(value))
        if not places:
            break
        holder, key = places[int(place * len(places))]
        if what == "swap":
            holder[key] = copy.deepcopy(_SWAPS[more[0]])
        elif what == "delete":
            del holder[key]
        elif isinstance(holder, dict):
            holder[more[0]] = 0
    return to_bytes(value)


def _places(value: Any) -> Any:
    """Yield every (container, key) of a nested value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(entries):
        yield value, key
        yield from _places(item)
