"""A directory of pictures, PNG or JPEG files of one size and mode, as one array."""

from __future__ import annotations

import errno
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from nllgen.study.untrusted_files import read_regular

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SIDES = range(4, 513, 4)  # heights and widths that are read
MAX_BYTES = 2 << 30  # of all images of a file or directory
SUFFIXES = (".png", ".jpg", ".jpeg")
_FORMATS = ("PNG", "JPEG")
_MODES = {"L": 1, "RGB": 3}  # Pillow's names of grey and of red, green and blue → channels
_FILE_BYTES = 64 << 20  # of one picture


def check_sides(height: int, width: int, name: str) -> None:
    """Check height and width of images.

    Raises:
        ValueError: they are not among :data:`SIDES`.
    """
    if height not in SIDES or width not in SIDES:
        allowed = f"{SIDES[0]}, {SIDES[1]}, … {SIDES[-1]}"
        raise ValueError(f"{name} is {height}×{width}: sides must be divisible by {SIDES.step}; allowed: {allowed}")


def read_directory(directory: Path) -> npt.NDArray[np.uint8]:
    """Read the pictures of a directory, sorted by name, as (N, H, W, C) uint8 levels.

    Other files, and directories in it, are passed over.

    Raises:
        ValueError: it has none, they differ in size or mode, or one is damaged or too large.
        OSError: it cannot be read.
    """
    import numpy as np

    paths = sorted(path for path in directory.iterdir() if path.suffix.lower() in SUFFIXES and not path.is_dir())
    if not paths:
        has_directories = any(path.is_dir() for path in directory.iterdir())
        more = "; pictures in directories below it are not read" if has_directories else ""
        raise ValueError(f"has no PNG or JPEG file{more}")
    first = _read_picture(paths[0])
    if len(paths) * first.nbytes > MAX_BYTES:
        raise ValueError(f"has {len(paths) * first.nbytes:,} bytes of pictures; {MAX_BYTES:,} are read")
    images = np.empty((len(paths), *first.shape), np.uint8)
    for row, path in enumerate(paths):
        picture = _read_picture(path)
        if picture.shape != first.shape:
            raise ValueError(f"{path.name} is {_text(picture)}, {paths[0].name} is {_text(first)}: all must be alike")
        images[row] = picture
    return images


def _read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """Read one picture (H, W, C), after its header was looked at."""
    import numpy as np
    from PIL import Image

    try:
        content = io.BytesIO(read_regular(path, _FILE_BYTES))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EFBIG):  # which say what the file is; others say nothing about it
            raise
        raise ValueError(f"{path.name}: {error.strerror}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(content, formats=_FORMATS) as picture:
                if picture.mode not in _MODES:
                    allowed = "allowed: L (grey) and RGB, without transparency and palettes"
                    raise ValueError(f"has the mode {picture.mode}; {allowed}; Pillow's convert('RGB') changes it")
                check_sides(picture.height, picture.width, "it")
                levels = np.asarray(picture, np.uint8)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Warning) as error:
        reason = str(error).replace(repr(content), "it") or type(error).__name__
        raise ValueError(f"{path.name}: {reason}") from error
    return levels.reshape(*levels.shape[:2], -1)


def _text(picture: npt.NDArray[np.uint8]) -> str:
    height, width, channels = picture.shape
    return f"{height}×{width} in {'colour' if channels > 1 else 'grey'}"
