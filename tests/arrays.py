"""Files of arrays, as other programs write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def npz(tmp_path: Path, **arrays: np.ndarray) -> Path:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]  # the stub takes any keyword for allow_pickle
    return path
