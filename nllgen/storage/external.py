"""Arrays that were made elsewhere, in NumPy's .npz or in HDF5: looked at before they are read, and never run."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from nllgen.errors import CorruptFileError, MachineError
from nllgen.storage.hdf5 import Array, get_array

MAX_BYTES = 2**34  # 16 GiB: five million images of MNIST's size
_NPZ, _KINDS = b"PK", "fui"
_DAMAGED = (OSError, LookupError, ValueError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)


def read_array(path: Path, names: Sequence[str], ndim: int) -> Array:
    """Read one numeric array of a file.

    Args:
        path: an .npz or HDF5 file, known by its content and not by its name.
        names: what the array may be called, the likeliest first.
        ndim: axes that it must have.

    Raises:
        CorruptFileError: the file is neither, damaged, or has no such array; or that is of another type or number of
            axes, or larger than 16 GiB.
        MachineError: it cannot be read, or there is not enough memory for it.
    """
    try:
        with path.open("rb") as file:
            npz = file.read(len(_NPZ)) == _NPZ
        array = _from_npz(path, names, ndim) if npz else _from_hdf5(path, names, ndim)
    except FileNotFoundError as error:
        raise CorruptFileError(f"{path}: no such file", "check the path") from error
    except (PermissionError, IsADirectoryError) as error:
        raise MachineError(f"cannot read {path}: {error.strerror}", "give a file that you may read") from error
    except MemoryError as error:
        raise MachineError(f"{path}: not enough memory to read it", "read it on a machine with more") from error
    except _DAMAGED as error:
        raise CorruptFileError(
            f"{path}: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            f"an .npz or HDF5 file with a numeric array {' or '.join(names)} of {ndim} axes",
        ) from error
    return array


def _from_npz(path: Path, names: Sequence[str], ndim: int) -> Array:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        name = _first(names, members)
        with archive.open(members[name]) as member:
            shape, dtype = _npy_header(member)
        size = _checked(name, shape, dtype, ndim)
        if size > members[name].file_size:
            raise ValueError(f"{name} declares {size} bytes, more than it can hold")
        with archive.open(members[name]) as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def _npy_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"is in version {version} of the .npy format; 1.0 and 2.0 are read")
    shape, _, dtype = read[version](member)
    return shape, dtype


def _from_hdf5(path: Path, names: Sequence[str], ndim: int) -> Array:
    if not h5py.is_hdf5(path):
        raise ValueError("neither an .npz nor an HDF5 file")
    with h5py.File(path, "r") as file:
        name = _first(names, file)
        item = file[name] if not isinstance(file.get(name, getlink=True), h5py.ExternalLink) else None
        if not isinstance(item, h5py.Dataset):
            raise ValueError(f"{name} is not an array in this file")
        _checked(name, item.shape or (), item.dtype, ndim)
        return get_array(file, name, ndim=ndim, kind=_KINDS, max_items=MAX_BYTES // item.dtype.itemsize)


def _first(names: Sequence[str], there: Any) -> str:
    for name in names:
        if name in there:
            return name
    raise ValueError(f"has no {' or '.join(names)}; it has {', '.join(sorted(there)[:10]) or 'nothing'}")


def _checked(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], ndim: int) -> int:
    if dtype.kind not in _KINDS or len(shape) != ndim:
        raise ValueError(f"{name} has {len(shape)} axes of {dtype}, expected {ndim} axes of numbers")
    size = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
    if size > MAX_BYTES:
        raise ValueError(f"{name} has {size} bytes, more than {MAX_BYTES}")
    return size
