"""Headers of the arrays in NumPy's .npz files, which others may have made: read before any array is allocated."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# what a damaged archive or array raises, beside OSError
NPZ_DAMAGED = (LookupError, ValueError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)
_HEADER_BYTES = 1 << 14  # a header may declare gigabytes, too; NumPy itself refuses one of more than 10,000


def read_npy_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, order (True for columns first) and type of an array, and the bytes of its header.

    Raises:
        ValueError: it is no .npy, or of another version than 1.0 and 2.0.
    """
    from numpy.lib import format as npy

    head = io.BytesIO(member.read(_HEADER_BYTES))
    version = npy.read_magic(head)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"is in version {version} of the .npy format; 1.0 and 2.0 are read")
    shape, in_columns, dtype = read[version](head)
    return shape, in_columns, dtype, head.tell()
