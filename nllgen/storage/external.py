"""Arrays that were made elsewhere, in NumPy's .npz or in HDF5: looked at before they are read, and never run."""

from __future__ import annotations

import errno
import itertools
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from nllgen.errors import CorruptFileError, MachineError
from nllgen.storage.atomic import hint_for
from nllgen.storage.hdf5 import get_array, has
from nllgen.storage.hdf5_data import Array, UntrustedFile, budget_of
from nllgen.study.npz import NPZ_DAMAGED, read_npy_header
from nllgen.study.path_kinds import PathKind, not_arrays, path_kind
from nllgen.study.untrusted_files import open_regular

FREE_BYTES = 2**29  # what any file may take: equal samples, which compress well, are scored, too
_MAX_NAMES = 10
# kinds of paths that hold no arrays; a file of no kind that is known may be damaged, and is read
_OTHER_KINDS = (
    *(kind for kind in PathKind if kind.is_directory),
    *(PathKind.GRID, PathKind.FROZEN, PathKind.PROFILE, PathKind.WEIGHTS, PathKind.MODEL, PathKind.CONTAINER),
)
_NPZ, _KINDS = b"PK", "fui"


def read_array(path: Path, names: Sequence[str], ndim: int) -> Array:
    """Read one numeric array of a file.

    Args:
        path: an .npz or HDF5 file, known by its content and not by its name.
        names: what the array may be called, the likeliest first.
        ndim: axes that it must have.

    Raises:
        ConfigError: the path is of another kind.
        CorruptFileError: the file is neither, damaged, or has no such array; or that is of another type or number of
            axes, or expands to many times the size of the file.
        MachineError: it cannot be read, or there is not enough memory for it.
    """
    if path_kind(path) in _OTHER_KINDS:
        raise not_arrays(path)
    try:
        with open_regular(path) as file:
            size, npz = os.fstat(file.fileno()).st_size, file.read(len(_NPZ)) == _NPZ
            budget = budget_of(size, FREE_BYTES)
            array = _from_npz(file, names, ndim, budget) if npz else _from_hdf5(path, names, ndim, budget)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorruptFileError(f"{path}: no such file", "check the path") from error
    except (PermissionError, IsADirectoryError) as error:
        raise MachineError(f"cannot read {path}: {error.strerror}", "give a file that you may read") from error
    except OSError as error:
        # of the disk, not of HDF5 or of what is no regular file
        if error.errno not in (None, errno.EINVAL) or "errno" in str(error):
            raise MachineError(f"cannot read {path}: {error.strerror or error}", hint_for(error)) from error
        raise _damaged(path, names, ndim, error) from error
    except MemoryError as error:
        raise MachineError(f"{path}: not enough memory to read it", "read it on a machine with more") from error
    except NPZ_DAMAGED as error:
        raise _damaged(path, names, ndim, error) from error
    return array


def _damaged(path: Path, names: Sequence[str], ndim: int, error: Exception) -> CorruptFileError:
    return CorruptFileError(
        f"{path}: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
        f"an .npz or HDF5 file with a numeric array {' or '.join(names)} of {ndim} axes",
    )


def _from_npz(file: BinaryIO, names: Sequence[str], ndim: int, budget: int) -> Array:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        name = _first(names, members)
        with archive.open(members[name]) as member:
            shape, _, dtype, _ = read_npy_header(member)
        size = _checked(name, shape, dtype, ndim)
        if size > members[name].file_size:
            raise ValueError(f"{name} declares {size} bytes, more than it can hold")
        if size > budget:
            raise ValueError(f"{name} has {size} bytes, more than {budget} for a file of this size")
        with archive.open(members[name]) as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def _from_hdf5(path: Path, names: Sequence[str], ndim: int, budget: int) -> Array:
    if not h5py.is_hdf5(path):
        raise ValueError("neither an .npz nor an HDF5 file")
    with UntrustedFile(path, "r", locking=False) as file:
        file.budget = budget
        name = next((name for name in names if has(file, name)), "")
        if not name:
            _first(names, set(itertools.islice(file, _MAX_NAMES)))
        return get_array(file, name, ndim=ndim, kind=_KINDS)


def _first(names: Sequence[str], there: Any) -> str:
    for name in names:
        if name in there:
            return name
    raise ValueError(f"has no {' or '.join(names)}; it has {', '.join(sorted(there)[:10]) or 'nothing'}")


def _checked(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], ndim: int) -> int:
    if dtype.kind not in _KINDS or len(shape) != ndim:
        raise ValueError(f"{name} has {len(shape)} axes of {dtype}, expected {ndim} axes of numbers")
    return int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
