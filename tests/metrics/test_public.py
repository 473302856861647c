"""The public functions of the package, and the cost of importing it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import nllgen.metrics


def test_frechet_distance_is_public() -> None:
    from nllgen.metrics import frechet_distance

    assert frechet_distance([0], [[1]], [3], [[1]]) == pytest.approx(9)
    assert nllgen.metrics.frechet_distance(np.zeros(2), np.eye(2), np.zeros(2), np.eye(2)) == 0


def test_every_public_name_exists() -> None:
    assert all(callable(getattr(nllgen.metrics, name)) for name in nllgen.metrics.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute frechet_distances"):
        nllgen.metrics.frechet_distances  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import nllgen.metrics, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
