"""Archives of ``torch.save`` that others may have made, examined without torch before any memory is taken.

Nothing in them is executed. All tensors together, and all plain values, may expand to a bounded multiple of the file:
a tensor with a stride of 0 has any size, and so has a list that holds another one twice.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

# storage class of torch → bytes of an item
ITEM_BYTES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1, "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
}  # fmt: skip
_FREE_BYTES = 2**24
_BYTES_PER_BYTE = 32  # nllgen's own files have 1 to 4
_VALUE_BYTES = 64  # the work of a value, beside its path and text


@dataclass(frozen=True)
class Storage:
    """The numbers of one or several tensors: a member of the archive."""

    kind: str
    name: str
    num_items: int


@dataclass(frozen=True)
class TensorView:
    """A tensor, as its place in a storage; its items may lie apart, or be one item seen many times."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class TensorArchive:
    """An archive whose values have been bounded.

    Attributes:
        values: nested dictionaries, lists and plain values, with a :class:`TensorView` for each tensor.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int):
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("its parts are compressed")
        if sum(member.file_size for member in members) > size:
            raise ValueError("its parts are larger than the file")
        (name,) = (member.filename for member in members if member.filename.endswith("/data.pkl"))
        self._archive, self._root = archive, name.removesuffix("data.pkl")
        self._sizes = {member.filename: member.file_size for member in members}
        if self._sizes.get(f"{self._root}byteorder", 0) and self._read("byteorder") != b"little":
            raise ValueError("it is big-endian")
        self._storages: dict[str, bytes] = {}
        self._left = _FREE_BYTES + _BYTES_PER_BYTE * size
        with archive.open(name) as file:
            self.values = _Unpickler(file, self).load()
        _check_values(self.values, _FREE_BYTES + _BYTES_PER_BYTE * size)

    def read(self, storage: Storage) -> bytes:
        """Return the numbers of a storage, which many tensors may share."""
        if storage.name not in self._storages:
            self._storages[storage.name] = self._read(f"data/{storage.name}")
        return self._storages[storage.name]

    def _read(self, name: str) -> bytes:
        return self._archive.read(f"{self._root}{name}")

    def storage(self, key: Any) -> Storage:
        """Return the storage that a reference names: ("storage", its class, its member, device, number of items)."""
        _, kind, name, _, num_items = key
        if num_items * ITEM_BYTES[kind] != self._sizes[f"{self._root}data/{name}"]:
            raise ValueError("a tensor is declared larger than its storage, or smaller")
        return Storage(kind, name, num_items)

    def view(self, storage: Storage, offset: int, shape: Any, stride: Any, *_: Any) -> TensorView:
        """Return a tensor after a look at its size."""
        last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
        if min((offset, *shape, *stride)) < 0 or (math.prod(shape) and last >= storage.num_items):
            raise ValueError("a tensor is larger than its storage")
        self._left -= math.prod(shape) * ITEM_BYTES[storage.kind]
        if self._left < 0:
            raise ValueError("its tensors expand to many times the size of the file")
        return TensorView(storage, offset, tuple(shape), tuple(stride))


@contextlib.contextmanager
def open_archive(file: BinaryIO) -> Iterator[TensorArchive]:
    """Open an archive.

    Raises:
        Exception: whatever a damaged archive or pickle raises; callers name the file.
    """
    size = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        yield TensorArchive(archive, size)


def check_archive(file: BinaryIO) -> None:
    """Check that an archive may be loaded: what it takes is bounded.

    Raises:
        Exception: as :func:`open_archive`.
    """
    with open_archive(file):
        file.seek(0)


def _check_values(values: Any, budget: int) -> None:
    """Bound the work of going through values with the path of each: containers may hold each other many times."""
    waiting: list[tuple[Any, int]] = [(values, 0)]
    while waiting:
        value, path_length = waiting.pop()
        budget -= _VALUE_BYTES + path_length + (len(value) if isinstance(value, str | bytes | bytearray) else 0)
        if isinstance(value, dict | list | tuple):
            items = list(value.items() if isinstance(value, dict) else enumerate(value))
            if any(not isinstance(key, str | int) for key, _ in items):
                raise TypeError("a key is neither text nor a number")
            budget -= len(items)
            if budget > 0:
                waiting += [(item, path_length + len(key if isinstance(key, str) else "")) for key, item in items]
        if budget < 0:
            raise ValueError("its values expand to many times the size of the file")


class _Unpickler(pickle._Unpickler):
    """An unpickler of plain values and tensors; any other class is refused.

    It is Python's own, since that in C allocates as many places of its memo as a file names.
    """

    stack: list[Any]

    def __init__(self, file: Any, archive: TensorArchive):
        super().__init__(file)
        self._archive = archive

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): self._archive.view,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
            ("torch", "Size"): tuple,
            ("torch", "device"): lambda *names: names,
        }
        if module == "torch" and name in ITEM_BYTES:
            return name
        if (module, name) in known:
            return known[module, name]
        raise pickle.UnpicklingError(f"holds {module}.{name}, which is no tensor")

    def persistent_load(self, pid: Any) -> Storage:
        return self._archive.storage(pid)

    def _leave_attributes(self) -> None:  # modules keep the versions of their parts there
        self.stack.pop()

    dispatch = pickle._Unpickler.dispatch | {pickle.BUILD[0]: _leave_attributes}  # type: ignore[assignment]
