"""What several rooms' tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mnist_assets() -> Path:
    """The asset folder with real MNIST in it, fetched by nllgen itself where it is missing; without it a test fails."""
    from nllgen import assets
    from nllgen.data.mnist import mirrors

    folder = assets.asset_folder()
    assets.fetch_mnist(folder, source=None, mirrors=mirrors(), say=print)
    return folder
