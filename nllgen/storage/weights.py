"""The digest of the weights in truth.pt or a task's model, read without torch, as on a login node."""

from __future__ import annotations

import hashlib
import math
import pickle
import zipfile
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nllgen.errors import CorruptFileError
from nllgen.storage.atomic import identity_of, raise_os_error

# storage class of torch → numpy dtype, of all that a flow's state may hold
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "BoolStorage": "|b1",
}
_MAX_BYTES = 2**30


def weights_digest(path: Path) -> str:
    """Return the digest of the weights in a file, equal to that of ``nllgen.data.truth.weights_sha256``.

    The names in a task's model, which keeps several weights, are ``last/<name>``, ``best/<name>`` and so on.

    A file that has not changed since is not read again.

    Returns:
        64 hexadecimal digits; empty where there is no file.

    Raises:
        CorruptFileError: it is no file of weights.
        MachineError: it cannot be read, which says nothing about its content.
    """
    try:
        return _weights_digest(path, identity_of(path.stat()))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise_os_error("read", path, error)


@lru_cache(maxsize=64)
def _weights_digest(path: Path, identity: tuple[int, ...]) -> str:
    try:
        weights = _read_weights(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged archive or pickle raises
        raise CorruptFileError(
            f"{path}: not a file of weights ({type(error).__name__}: {error})", "remove it and submit the study again"
        ) from error
    digest = hashlib.sha256()
    for name, array in sorted(weights.items()):
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _read_weights(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read ``{"weights": {name: tensor}}``, or ``{kind: {name: tensor}}`` there, from the archive of ``torch.save``."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("its parts are compressed")
        if sum(member.file_size for member in members) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
        (name,) = (member.filename for member in members if member.filename.endswith("/data.pkl"))
        root = name.removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("it is big-endian")
        with archive.open(name) as file:
            content = _TensorUnpickler(file, archive, f"{root}data/").load()
    weights = content["weights"]
    if all(isinstance(part, dict) for part in weights.values()):
        weights = {f"{kind}/{name}": value for kind, part in weights.items() for name, value in part.items()}
    if not all(isinstance(value, np.ndarray) for value in weights.values()):
        raise TypeError("its weights are no named tensors")
    return dict(weights)


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler of dictionaries of tensors, as NumPy arrays; any other class is refused."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, prefix: str):
        super().__init__(file)
        self._archive, self._prefix = archive, prefix

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"holds {module}.{name}, which is no tensor")

    def persistent_load(self, key: Any) -> npt.NDArray[Any]:
        _, dtype, name, *_ = key
        return np.frombuffer(self._archive.read(f"{self._prefix}{name}"), dtype=dtype)


def _rebuild(storage: npt.NDArray[Any], offset: int, shape: Any, stride: Any, *_: Any) -> npt.NDArray[Any]:
    """Return a tensor's array; its elements may lie apart, or be one element seen many times."""
    last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    if min((offset, *shape, *stride)) < 0 or (math.prod(shape) and last >= len(storage)):
        raise ValueError("a tensor is larger than its storage")
    if math.prod(shape) * storage.itemsize > _MAX_BYTES:
        raise ValueError(f"a tensor has more than {_MAX_BYTES:,} bytes")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides, writeable=False)
