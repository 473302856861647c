"""The digest of the weights in truth.pt or a task's model, read without torch, as on a login node."""

from __future__ import annotations

import hashlib
import math
import stat
from functools import lru_cache
from pathlib import Path
from typing import Any

from nllgen.errors import MADE_ANEW, CorruptFileError
from nllgen.storage.atomic import identity_of, raise_os_error
from nllgen.study.tensor_archive import ITEM_BYTES, TensorView, open_archive
from nllgen.study.untrusted_files import open_regular

# storage class of torch → numpy dtype, of all that a flow's state may hold
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "BoolStorage": "|b1",
}


def weights_digest(path: Path, kind: str = "") -> str:
    """Return the digest of the weights in a file, equal to that of ``nllgen.data.truth.weights_sha256``.

    The names in a task's model, which keeps several weights, are ``last/<name>``, ``best/<name>`` and so on; with a
    ``kind``, the digest is that of these weights alone.

    A file that has not changed since is not read again.

    Returns:
        64 hexadecimal digits; empty where there is no file.

    Raises:
        CorruptFileError: it is no file of weights.
        MachineError: it cannot be read, which says nothing about its content.
    """
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise CorruptFileError(f"{path}: is not a file", MADE_ANEW)
        return _weights_digest(path, kind, identity_of(info))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise_os_error("read", path, error)


@lru_cache(maxsize=64)
def _weights_digest(path: Path, kind: str, identity: tuple[int, ...]) -> str:
    digest = hashlib.sha256()
    try:
        _update(digest, path, kind)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged archive or pickle raises
        raise CorruptFileError(f"{path}: not a file of weights ({type(error).__name__}: {error})", MADE_ANEW) from error
    return digest.hexdigest()


def _update(digest: Any, path: Path, only: str) -> None:
    """Hash ``{"weights": {name: tensor}}``, or ``{kind: {name: tensor}}`` there, one tensor at a time."""
    with open_regular(path) as file, open_archive(file) as archive:
        weights = archive.values["weights"]
        if only:
            weights = weights[only]
        elif all(isinstance(part, dict) for part in weights.values()):
            weights = {f"{kind}/{name}": value for kind, part in weights.items() for name, value in part.items()}
        if not all(isinstance(value, TensorView) for value in weights.values()):
            raise TypeError("its weights are no named tensors")
        for name, tensor in sorted(weights.items()):
            digest.update(f"{name}{_DTYPES[tensor.storage.kind]}{tensor.shape}".encode())
            digest.update(_items(archive.read(tensor.storage), tensor))


def _items(storage: bytes, tensor: TensorView) -> bytes:
    """Return the bytes of a tensor's items in its order."""
    size = ITEM_BYTES[tensor.storage.kind]
    if tensor.stride == _contiguous(tensor.shape):
        return storage[tensor.offset * size : (tensor.offset + math.prod(tensor.shape)) * size]
    import numpy as np  # here, as it takes longer than reading the truth of a plan

    data = np.frombuffer(storage, dtype=_DTYPES[tensor.storage.kind])[tensor.offset :]
    strides = [step * size for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(data, tensor.shape, strides, writeable=False).tobytes()


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of a tensor whose items lie in order."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
